from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from napari_dama.errors import ModelError
from napari_dama.models.build import brain_card, new_model
from napari_dama.models.model import Model
from napari_dama.nets.encoder import Encoder, EncoderSpec
from napari_dama.predict.attention import (
    attention_at,
    attention_map,
    attention_weights,
    patches_place,
    query_weights,
    rollout,
)
from napari_dama.predict.explain import CropPlace, Explainer
from napari_dama.slides.slide import open_slide

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def model() -> Model:
    card = brain_card("untrained", tasks=("types", "reconstruct"))
    card.architecture.type_zoom = 1.5625
    return new_model(card)


@pytest.mark.parametrize("fused", [True, False])
@torch.no_grad()
def test_weights_give_back_what_the_network_computes(fused: bool) -> None:
    torch.manual_seed(0)
    encoder = Encoder(EncoderSpec("tiny", channels=3, image_px=64)).eval()
    for block in encoder.blocks:
        block.attn.fused_attn = fused
        torch.nn.init.normal_(block.attn.qkv.weight, std=0.2)  # far from uniform, so that mistakes show
    x = torch.rand(2, 3, 64, 64)
    inputs, outputs = [], []
    last = encoder.blocks[-1].attn

    def note(module: object, given: tuple[torch.Tensor, ...], made: torch.Tensor) -> None:
        inputs.append(given[0])
        outputs.append(made)

    handle = last.register_forward_hook(note)
    with torch.no_grad():
        weights = attention_weights(encoder, x)
    handle.remove()

    assert weights.shape == (12, 2, 17, 17)
    torch.testing.assert_close(weights.sum(dim=-1), torch.ones(12, 2, 17))
    width = inputs[0].shape[-1] // last.num_heads
    for sample in range(2):  # written out: head by head, query by query
        qkv = last.qkv(inputs[0])[sample].reshape(17, 3, last.num_heads, width)
        heads, joined = [], torch.zeros(17, last.num_heads, width)
        for head in range(last.num_heads):
            q, k, v = (qkv[:, part, head] for part in range(3))
            rows = torch.stack([torch.softmax(torch.stack([a @ b for b in k]) / width**0.5, 0) for a in q])
            heads.append(rows)
            joined[:, head] = rows @ v
        torch.testing.assert_close(weights[-1, sample], torch.stack(heads).mean(0), atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(
            last.proj(joined.reshape(17, -1)), outputs[0][sample], atol=1e-4, rtol=1e-4
        )
    assert not encoder.blocks[0].attn._forward_pre_hooks  # nothing stays hooked


def test_rollout_is_the_written_out_product() -> None:
    weights = torch.rand(3, 2, 5, 5).softmax(dim=-1)
    slow = torch.eye(5)
    for block in range(3):
        mixed = torch.zeros(5, 5)
        for i in range(5):
            for j in range(5):
                mixed[i, j] = 0.5 * weights[block, 1, i, j] + (0.5 if i == j else 0.0)
        slow = mixed @ slow
    torch.testing.assert_close(rollout(weights)[1], slow)


def test_pooled_queries_weigh_patches_as_the_head_does(model: Model) -> None:
    part = model.parts["types"]
    maps = torch.rand(1, 1, 8, 8)
    mean, centre = part._pooled(maps)[0]
    weights = query_weights(8, "pooled", centre=True)

    assert weights[0] == 0
    torch.testing.assert_close((weights[1:] * maps.flatten()).sum(), (mean + centre) / 2)
    assert query_weights(8, "class", centre=True).nonzero().tolist() == [[0]]


@pytest.mark.parametrize("query", ["class", "pooled"])
@pytest.mark.parametrize("depth", ["last", "rollout"])
def test_maps_lie_on_what_the_network_sees(query, depth, model: Model, cells_tiff: Path) -> None:  # type: ignore[no-untyped-def]
    with open_slide(cells_tiff) as slide:
        explainer = Explainer(slide, model=model)
        made = attention_at(explainer, (300, 400), query=query, depth=depth)

    assert made.values.shape == (8, 8) and (made.values > 0).all()
    assert made.values.sum() == pytest.approx(1, abs=1e-4)
    assert made.place.step_px == pytest.approx(20.8 / 8 / 0.325)  # 64 of 100 px of the crop, in eight patches
    middle = made.place.y0 + 3.5 * made.place.step_px, made.place.x0 + 3.5 * made.place.step_px
    assert middle == pytest.approx((300, 400), abs=1)


def test_patches_are_placed_by_their_centres() -> None:
    place = patches_place(CropPlace(10.0, 20.0, 2.0), 128, 8, 1.0)
    assert (place.y0, place.x0, place.step_px) == (10 + 7.5 * 2, 20 + 7.5 * 2, 32)


def test_the_map_follows_the_crop(model: Model) -> None:
    """Two crops in one batch get the maps that each gets alone."""
    crops = torch.rand(2, 7, 128, 128)
    both, _ = attention_map(model, crops)
    alone, _ = attention_map(model, crops[1:])
    np.testing.assert_allclose(both[1], alone[0], atol=1e-5)
    assert np.abs(both[0] - both[1]).max() > 0


def test_a_model_of_outlines_has_no_cell_attention() -> None:
    with pytest.raises(ModelError, match="no attention"):
        attention_map(new_model(brain_card("x", tasks=("segments",))), torch.rand(1, 7, 128, 128))
