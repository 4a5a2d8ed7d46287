"""Checkpoints of the authors' code, of MAE and of timm become models; anything else is refused by name."""

from __future__ import annotations

import argparse
import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor

from napari_dama.errors import ModelError, OutputError
from napari_dama.models.build import brain_card, new_model, save_model
from napari_dama.models.card import Card
from napari_dama.models.importer import import_model
from napari_dama.models.shelf import list_models, load_card, load_model
from napari_dama.nets.autoencoder import MaskedAutoencoder
from napari_dama.nets.encoder import sincos_positions


def vit(
    *, channels: int = 7, image_px: int = 128, width: int = 48, depth: int = 2, patch: int = 16
) -> VisionTransformer:
    torch.manual_seed(0)
    return VisionTransformer(
        img_size=image_px,
        patch_size=patch,
        in_chans=channels,
        num_classes=0,
        embed_dim=width,
        depth=depth,
        num_heads=3,
    ).eval()


def authors(*, channels: int = 7, width: int = 48, decoder: int = 64, grid: int = 8) -> dict[str, Tensor]:
    """Tensors with the names and shapes of the authors' ``DAMA`` module: encoder, decoder, twin and head."""
    student = vit(channels=channels, image_px=grid * 16, width=width).state_dict()
    block = VisionTransformer(
        img_size=16, patch_size=16, in_chans=1, num_classes=0, embed_dim=decoder, depth=1, num_heads=2
    ).state_dict()
    student |= {
        "mask_token": torch.randn(1, 1, decoder),
        "decoder_embed.weight": torch.randn(decoder, width),
        "decoder_embed.bias": torch.randn(decoder),
        "decoder_pos_embed": torch.zeros(1, grid**2 + 1, decoder),
        "decoder_norm.weight": torch.ones(decoder),
        "decoder_norm.bias": torch.zeros(decoder),
        "decoder_pred.weight": torch.randn(256 * channels, decoder),
        "decoder_pred.bias": torch.zeros(256 * channels),
    }
    student |= {f"decoder_{name}": value for name, value in block.items() if name.startswith("blocks.")}
    both = {f"base_encoder.{name}": value for name, value in student.items()}
    both |= {f"momentum_encoder.{name}": value + 1 for name, value in student.items()}
    return both | {"projs_head.0.weight": torch.zeros(2 * width, width)}


def of_published_size(
    *, channels: int = 7, width: int = 768, depth: int = 12, decoder: int = 512, decoder_depth: int = 8
) -> dict[str, Tensor]:
    """Random tensors with the names and shapes of MAE's ViT-base and its decoder, for 128 px in patches of 16 px."""
    source = torch.Generator().manual_seed(0)

    def some(*shape: int) -> Tensor:
        return torch.empty(shape).uniform_(-0.05, 0.05, generator=source)

    def linear(name: str, inputs: int, outputs: int) -> dict[str, Tensor]:
        return {f"{name}.weight": some(outputs, inputs), f"{name}.bias": some(outputs)}

    def norm(name: str, d: int) -> dict[str, Tensor]:
        return {f"{name}.weight": 1 + some(d), f"{name}.bias": some(d)}

    def block(name: str, d: int) -> dict[str, Tensor]:
        return {
            **norm(f"{name}.norm1", d),
            **linear(f"{name}.attn.qkv", d, 3 * d),
            **linear(f"{name}.attn.proj", d, d),
            **norm(f"{name}.norm2", d),
            **linear(f"{name}.mlp.fc1", d, 4 * d),
            **linear(f"{name}.mlp.fc2", 4 * d, d),
        }

    state = {
        "cls_token": some(1, 1, width),
        "pos_embed": some(1, 65, width),
        "mask_token": some(1, 1, decoder),
        "decoder_pos_embed": some(1, 65, decoder),
        "patch_embed.proj.weight": some(width, channels, 16, 16),
        "patch_embed.proj.bias": some(width),
        **norm("norm", width),
        **linear("decoder_embed", width, decoder),
        **norm("decoder_norm", decoder),
        **linear("decoder_pred", decoder, 256 * channels),
    }
    for i in range(depth):
        state |= block(f"blocks.{i}", width)
    for i in range(decoder_depth):
        state |= block(f"decoder_blocks.{i}", decoder)
    return state


def written(folder: Path, found: Any, name: str = "checkpoint.pth") -> Path:
    torch.save(found, folder / name)
    return folder / name


def test_the_authors_checkpoint_with_its_options(tmp_path: Path, shelf: Path) -> None:
    tensors = authors()
    options = argparse.Namespace(lr=1e-3, model="main_vit_tiny")
    file = written(tmp_path, {"model": tensors, "args": options, "epoch": 499, "optimizer": {"state": {}}})
    folder = import_model(file, name="authors")
    assert folder == shelf / "authors" and "authors" in [card.name for card in list_models()]
    model = load_model("authors")
    card = model.card
    assert card.tasks == ["reconstruct"] and card.architecture.size == "tiny"
    assert (
        card.architecture.decoder_depth,
        card.architecture.decoder_width,
        card.architecture.decoder_heads,
    ) == (1, 64, 2)
    assert card.training["imported_from"] == "checkpoint.pth" and card.limits
    state = model.state()
    for here, there in {
        "encoder.blocks.1.mlp.fc1.weight": "blocks.1.mlp.fc1.weight",
        "encoder.patch_embed.proj.weight": "patch_embed.proj.weight",
        "encoder.pos_embed": "pos_embed",
        "bridge.weight": "decoder_embed.weight",
        "blocks.0.attn.qkv.bias": "decoder_blocks.0.attn.qkv.bias",
        "head.weight": "decoder_pred.weight",
        "mask_token": "mask_token",
    }.items():
        wanted = tensors[f"base_encoder.{there}"]
        assert torch.allclose(state[f"reconstruct.{here}"], wanted, rtol=1e-3, atol=1e-3), here
    found = model.reconstruct(torch.rand(1, 7, 128, 128))
    assert bool(found.image_adaptive.isfinite().all())


@pytest.mark.slow
@pytest.mark.parametrize("method", ["mae", "dama"])
def test_checkpoints_of_the_published_size_come_back_into_the_encoder(tmp_path: Path, method: str) -> None:
    student = of_published_size()
    held = student
    if method == "dama":
        held = {f"base_encoder.{name}": value for name, value in student.items()}
        held |= {f"momentum_encoder.{name}": value for name, value in student.items()}
        held |= {"projs_head.0.weight": torch.zeros(1536, 768), "projs_head.1.weight": torch.ones(1536)}
    model = load_model(import_model(written(tmp_path, {"model": held, "epoch": 499}), name=method))
    shape = model.card.architecture
    assert shape.size == "base" and (shape.decoder_depth, shape.decoder_width, shape.decoder_heads) == (
        8,
        512,
        16,
    )
    part = model.parts["reconstruct"]
    assert isinstance(part, MaskedAutoencoder)
    encoder = part.encoder.state_dict()
    assert encoder.keys() == {name for name in student if not name.startswith(("decoder_", "mask_token"))}
    for name, value in encoder.items():
        assert torch.equal(value, student[name].half().float()), name  # a model's weights are held in float16
    for here, there in (
        ("bridge.bias", "decoder_embed.bias"),
        ("blocks.7.norm2.bias", "decoder_blocks.7.norm2.bias"),
    ):
        assert torch.equal(part.get_parameter(here), student[there].half().float())
    assert model.embed(torch.rand(1, 7, 128, 128)).shape == (1, 768)


@pytest.mark.parametrize("wrap", ["plain", "model", "state_dict", "ddp", "safetensors"])
def test_a_plain_vit_encodes_as_it_did(tmp_path: Path, wrap: str) -> None:
    net = vit()
    state = net.state_dict()
    if wrap == "safetensors":
        file = tmp_path / "checkpoint.safetensors"
        save_file(state, file)
    else:
        made = {
            "plain": state,
            "model": {"model": state},
            "state_dict": {"state_dict": state, "epoch": 3},
            "ddp": {"module." + name: value for name, value in state.items()},
        }
        file = written(tmp_path, made[wrap])
    model = load_model(import_model(file, name="plain"))
    assert any("no decoder" in limit for limit in model.card.limits)
    x = torch.rand(2, 7, 128, 128)
    with torch.no_grad():
        wanted = net.forward_features(x)[:, 1:].mean(1)
    assert torch.allclose(model.embed(x), wanted, atol=2e-2)


def test_an_imported_model_starts_a_fine_tuning(tmp_path: Path) -> None:
    from napari_dama.training.finetune import starting_model
    from napari_dama.training.settings import FinetuneSettings

    folder = import_model(written(tmp_path, authors()), name="authors")
    settings = FinetuneSettings(task="types", data=[tmp_path], out=tmp_path / "job", init=str(folder))
    state = starting_model(settings, ["a", "b"], []).state()
    assert torch.equal(
        state["types.encoder.blocks.0.norm1.weight"], state["reconstruct.encoder.blocks.0.norm1.weight"]
    )
    assert torch.equal(state["types.encoder.pos_embed"], state["reconstruct.encoder.pos_embed"])


@pytest.mark.parametrize("grid", [4, 14])
def test_positions_are_resampled_to_the_grid(tmp_path: Path, grid: int) -> None:
    state = vit(image_px=grid * 16).state_dict()
    rows = torch.linspace(-1, 1, grid)[:, None, None].expand(grid, grid, 48).reshape(1, -1, 48)
    state["pos_embed"] = torch.cat([torch.full((1, 1, 48), 7.0), rows], dim=1)
    model = load_model(import_model(written(tmp_path, state), name="resampled"))
    found = model.state()["reconstruct.encoder.pos_embed"].float()
    assert found.shape == (1, 65, 48) and bool((found[:, 0] == 7).all())
    square = found[0, 1:].reshape(8, 8, 48)
    assert (square.std(1) < 1e-2).all()  # still the same in every column
    assert (square[1:, 0, 0] > square[:-1, 0, 0]).all() and abs(float(square.mean())) < 1e-2
    assert any(f"from {grid} x {grid} to 8 x 8" in limit for limit in model.card.limits)


def test_positions_of_the_same_grid_stay_as_they_are(tmp_path: Path) -> None:
    state = vit().state_dict()
    state["pos_embed"][:, 1:] = sincos_positions(48, 8)
    model = load_model(import_model(written(tmp_path, state), name="same"))
    found = model.state()["reconstruct.encoder.pos_embed"][0, 1:]
    assert torch.allclose(found, sincos_positions(48, 8), atol=1e-3)


def test_a_card_brings_another_panel(tmp_path: Path) -> None:
    card = Card(
        name="x", tasks=["reconstruct"], panel=["Hoechst", "CD3", "CD8"], nuclear=["Hoechst"], pixel_um=0.5
    )
    folder = import_model(written(tmp_path, authors(channels=3)), name="lymph", card=card)
    found = load_card(folder)
    assert found.name == "lymph" and found.panel == card.panel and found.pixel_um == 0.5
    assert card.name == "x"  # the one given is left alone


def test_another_number_of_channels_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"takes 3 channels, the panel has 7 \(DAPI, .*give a card"):
        import_model(written(tmp_path, authors(channels=3)), name="x")


class Evil:
    """Runs a command when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.mark),)


def test_code_in_a_pickle_is_refused_and_never_runs(tmp_path: Path, shelf: Path) -> None:
    mark = tmp_path / "ran"
    evil = {"model": authors(), "hook": Evil(mark)}
    plain = tmp_path / "plain.pkl"
    plain.write_bytes(pickle.dumps(evil["hook"], protocol=2))
    for file in (written(tmp_path, evil), plain):
        with pytest.raises(ModelError, match=r"more than weights \(.*mkdir\), and code .*never run"):
            import_model(file, name="x")
    assert not mark.exists() and not shelf.exists()


def lacking(state: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    return {key: value for key, value in state.items() if key != name}


def test_what_does_not_fit_is_named(tmp_path: Path, shelf: Path) -> None:
    plain = dict(vit().state_dict())
    nan = plain["norm.bias"] * float("nan")
    cases: list[tuple[Any, str]] = [
        (lacking(plain, "blocks.1.norm2.bias"), r"lacks blocks\.1\.norm2\.bias"),
        (lacking(plain, "patch_embed.proj.weight"), r"lacks patch_embed\.proj\.weight and holds"),
        (lacking(plain, "pos_embed"), r"lacks pos_embed"),
        (lacking(authors(), "base_encoder.decoder_norm.bias"), r"lacks decoder_norm\.bias"),
        (plain | {"blocks.0.ls1.gamma": torch.ones(48)}, r"has blocks\.0\.ls1\.gamma, which no layer"),
        (plain | {"norm.bias": torch.zeros(47)}, r"norm\.bias has shape \(47,\), \(48,\) is needed"),
        (plain | {"norm.bias": nan}, r"norm\.bias holds values that are no numbers"),
        (
            plain | {"pos_embed": torch.zeros(1, 60, 48)},
            r"pos_embed has shape \(1, 60, 48\), which is no square",
        ),
        (plain | {"fc_norm.weight": torch.ones(48)}, "fine-tuned classifier"),
        (vit(width=60).state_dict(), "width 60 and 2 blocks; known sizes are tiny: width 48, 2 blocks"),
        (vit(depth=3).state_dict(), "width 48 and 3 blocks"),
        ({"layer1.0.conv1.weight": torch.ones(3)}, r"no vision transformer .*holds layer1\.0\.conv1\.weight"),
        ({"epoch": 3}, "holds no named tensors"),
        ([torch.ones(2)], "holds no named tensors"),
    ]
    for found, says in cases:
        with pytest.raises(ModelError, match=says):
            import_model(written(tmp_path, found), name="x")
    assert not shelf.exists()


def test_size_is_checked_against_the_weights(tmp_path: Path) -> None:
    file = written(tmp_path, vit().state_dict())
    assert import_model(file, name="one", size="tiny").is_dir()
    with pytest.raises(ModelError, match="is of size tiny, not base"):
        import_model(file, name="two", size="base")


def test_patches_that_do_not_divide_the_image(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="patches of 12 px, which do not divide an image of 128 px"):
        import_model(written(tmp_path, vit(image_px=96, patch=12).state_dict()), name="x")


@pytest.mark.parametrize("name", ["a.pth", "a.safetensors"])
@pytest.mark.parametrize("content", [b"", b"hello", b"PK\x03\x04 half a zip"])
def test_damaged_files_are_refused(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ModelError, match=rf"{name} is damaged or no checkpoint"):
        import_model(tmp_path / name, name="x")


def test_half_a_checkpoint_is_refused(tmp_path: Path) -> None:
    file = written(tmp_path, vit().state_dict())
    file.write_bytes(file.read_bytes()[:-2000])
    with pytest.raises(ModelError, match="damaged"):
        import_model(file, name="x")


def test_missing_files_and_names_that_do_not_do(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="does not exist"):
        import_model(tmp_path / "nothing.pth", name="x")
    file = written(tmp_path, vit().state_dict())
    for name in ("", "../evil", "/tmp/evil", ".hidden"):
        with pytest.raises(ModelError, match="the model's name"):
            import_model(file, name=name)


def test_nothing_is_overwritten_unasked(tmp_path: Path, shelf: Path) -> None:
    file = written(tmp_path, vit().state_dict())
    import_model(file, name="one")
    with pytest.raises(OutputError, match="one exists; choose another name, or overwrite"):
        import_model(file, name="one")
    import_model(file, name="one", overwrite=True)
    (shelf / "notes").mkdir()
    (shelf / "notes" / "mine.txt").write_text("mine")
    with pytest.raises(OutputError, match="notes exists and is no model"):
        import_model(file, name="notes", overwrite=True)
    assert sorted(path.name for path in shelf.iterdir()) == ["notes", "one"]


@pytest.mark.parametrize("inside", ["", "card.json", "weights.safetensors"])
def test_a_model_folder_is_checked_and_copied(tmp_path: Path, inside: str) -> None:
    model = new_model(brain_card("old"), seed=3)
    save_model(model, tmp_path / "elsewhere")
    folder = import_model(tmp_path / "elsewhere" / inside, name="copy", folder=tmp_path / "other")
    assert folder == tmp_path / "other" / "copy"
    found = load_model(folder)
    assert found.card.name == "copy" and found.card.tasks == model.card.tasks
    before = load_model(tmp_path / "elsewhere").state()
    after = found.state()
    assert all(torch.equal(value, after[name]) for name, value in before.items())


def test_a_folder_that_is_no_model_or_damaged(tmp_path: Path, shelf: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelError, match="is no model"):
        import_model(tmp_path / "empty", name="x")
    save_model(new_model(brain_card("old", tasks=("types",))), tmp_path / "old")
    weights = tmp_path / "old" / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(ModelError, match="damaged"):
        import_model(tmp_path / "old", name="x")
    assert not shelf.exists()
