"""The encoder on crops, on visible patches and on tiles says the same; patches against loops."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from napari_dama.nets.autoencoder import unpatchify
from napari_dama.nets.encoder import Encoder, EncoderSpec, patchify, sincos_positions
from napari_dama.nets.masking import random_mask, visible_ids

SPEC = EncoderSpec("tiny", channels=3, image_px=64, patch_px=16)


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    torch.manual_seed(0)
    made = Encoder(SPEC).eval().requires_grad_(False)
    made.cls_token += torch.randn_like(made.cls_token)
    return made


def slow_patchify(x: Tensor, p: int) -> Tensor:
    n, c, h, w = x.shape
    rows = []
    for sample in range(n):
        for i in range(h // p):
            for j in range(w // p):
                values = [
                    x[sample, channel, i * p + y, j * p + k]
                    for y in range(p)
                    for k in range(p)
                    for channel in range(c)
                ]
                rows.append(torch.stack(values))
    return torch.stack(rows).reshape(n, (h // p) * (w // p), p * p * c)


@pytest.mark.parametrize(("channels", "grid", "p"), [(1, 1, 4), (2, 2, 4), (7, 2, 2), (3, 3, 5), (5, 4, 1)])
def test_patchify_is_channel_last_row_major_and_invertible(channels: int, grid: int, p: int) -> None:
    x = torch.rand(2, channels, grid * p, grid * p)
    patches = patchify(x, p)
    assert torch.equal(patches, slow_patchify(x, p))
    assert torch.equal(unpatchify(patches, p, channels), x)


def test_patchify_takes_tiles_that_are_not_square() -> None:
    x = torch.rand(2, 3, 8, 12)
    assert torch.equal(patchify(x, 4), slow_patchify(x, 4))


@pytest.mark.parametrize(("width", "grid"), [(8, 1), (16, 3), (192, 8)])
def test_positions_are_those_of_mae(width: int, grid: int) -> None:
    positions = sincos_positions(width, grid)
    quarter = width // 4
    for place in range(grid * grid):
        row, column = divmod(place, grid)
        wanted = []
        for coordinate in (column, row):
            turns = [coordinate / 10000 ** (k / quarter) for k in range(quarter)]
            wanted += [math.sin(t) for t in turns] + [math.cos(t) for t in turns]
        assert positions[place].tolist() == pytest.approx(wanted, abs=1e-6)


def test_encoding_only_visible_patches_equals_encoding_all_when_all_are_visible(encoder: Encoder) -> None:
    x = torch.rand(2, 3, 64, 64)
    everywhere = torch.arange(16).expand(2, -1)
    assert torch.allclose(encoder.embed_visible(x, everywhere), encoder.embed(x), atol=1e-5)
    assert torch.allclose(encoder.encode(encoder.embed_visible(x, everywhere)), encoder(x), atol=1e-4)


def test_visible_tokens_are_those_of_their_places(encoder: Encoder) -> None:
    x = torch.rand(4, 3, 64, 64)
    places = visible_ids(random_mask(4, 16, mask_ratio=0.75, generator=torch.Generator().manual_seed(0)))
    whole, shown = encoder.embed(x), encoder.embed_visible(x, places)
    for sample in range(4):
        for index, place in enumerate(places[sample].tolist()):
            assert torch.allclose(shown[sample, index], whole[sample, place], atol=1e-5)


def test_hidden_patches_do_not_reach_the_features(encoder: Encoder) -> None:
    hidden = random_mask(2, 16, mask_ratio=0.75, generator=torch.Generator().manual_seed(1))
    x = torch.rand(2, 3, 64, 64)
    patches = patchify(x, 16)
    other = unpatchify(torch.where(hidden[..., None], torch.rand_like(patches), patches), 16, 3)
    places = visible_ids(hidden)
    one, two = (encoder.encode(encoder.embed_visible(y, places)) for y in (x, other))
    assert torch.equal(one, two)


@pytest.mark.parametrize("last", [0, 1, 2, 3])
def test_targets_are_the_mean_of_the_last_blocks_mlp_outputs(encoder: Encoder, last: int) -> None:
    tokens = torch.rand(2, 5, 48)
    outputs: list[Tensor] = []
    hooks = [
        block.mlp.register_forward_hook(lambda _m, _i, out: outputs.append(out)) for block in encoder.blocks
    ]
    features, targets = encoder.encode_with_targets(tokens, last=last)
    for hook in hooks:
        hook.remove()
    # the reference: timm's own blocks, one after the other
    x = torch.cat([(encoder.cls_token + encoder.pos_embed[:, :1]).expand(2, -1, -1), tokens], dim=1)
    for block in encoder.blocks:
        x = block(x)
    assert torch.allclose(features, encoder.norm(x), atol=1e-4)
    if last == 0:
        assert targets is None
        return
    wanted = torch.stack([F.layer_norm(out, (48,)) for out in outputs[-last:]]).mean(0)
    assert targets is not None and torch.allclose(targets, wanted, atol=1e-5)


@pytest.mark.parametrize("last", [-1, 4])
def test_more_blocks_than_there_are_is_refused(encoder: Encoder, last: int) -> None:
    with pytest.raises(ValueError, match=rf"0\.\.3, the number of blocks, got {last}"):
        encoder.encode_with_targets(torch.rand(1, 2, 48), last=last)


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (2, 1), (1, 3), (2, 2)])
def test_dense_equals_the_encoder_on_each_window(encoder: Encoder, rows: int, columns: int) -> None:
    x = torch.rand(2, 3, rows * 64, columns * 64)
    tokens = encoder.dense(x)
    assert tokens.shape == (2, 48, rows * 4, columns * 4)
    for i in range(rows):
        for j in range(columns):
            window = encoder(x[:, :, i * 64 : i * 64 + 64, j * 64 : j * 64 + 64])[:, 1:]  # (2, 16, 192)
            piece = tokens[:, :, i * 4 : i * 4 + 4, j * 4 : j * 4 + 4]
            for place in range(16):
                assert torch.allclose(piece[:, :, place // 4, place % 4], window[:, place], atol=1e-4)


def test_dense_refuses_tiles_that_are_no_whole_windows(encoder: Encoder) -> None:
    with pytest.raises(ValueError, match="64 x 70 px is not a multiple of the window of 64"):
        encoder.dense(torch.zeros(1, 3, 64, 70))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [({"size": "huge"}, "huge"), ({"image_px": 100}, "100.*16"), ({"channels": 0}, "at least 1, got 0")],
)
def test_wrong_shapes_are_refused(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        EncoderSpec(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("channels", [1, 3, 7, 40])
def test_any_number_of_markers(channels: int) -> None:
    made = Encoder(EncoderSpec("tiny", channels=channels, image_px=32))
    assert made(torch.zeros(1, channels, 32, 32)).shape == (1, 5, 48)
