"""Pictures and tables that a run leaves at validations, and its parent beside it."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from napari_dama.models.card import Card
from napari_dama.nets.autoencoder import DecoderSpec, MaskedAutoencoder
from napari_dama.nets.encoder import EncoderSpec
from napari_dama.training.finetune import finetune
from napari_dama.training.parent import worse_than_parent
from napari_dama.training.pretrain import pretrain
from napari_dama.training.preview import confusion_counts, masked_views, outlines_picture
from napari_dama.training.preview_files import kept_steps, preview_steps, save_preview
from napari_dama.training.settings import FinetuneSettings, PretrainSettings

QUICK = {
    "batch_size": 8,
    "max_steps": 4,
    "validate_every": 2,
    "log_every": 1,
    "device": "cpu",
    "decoder_depth": 1,
}


def settings(store: Path, out: Path, **more: object) -> PretrainSettings:
    return PretrainSettings.model_validate({"crops": store, "out": out, "last_blocks": 2, **QUICK, **more})


@pytest.mark.parametrize("every", [1, 500])
@pytest.mark.parametrize("count", [1, 7, 200])
def test_kept_previews_are_the_last_and_powers_of_two(every: int, count: int) -> None:
    kept: set[int] = set()
    for number in range(1, count + 1):
        kept |= {number * every}
        kept = kept_steps(sorted(kept), every, last=5)
    expected = {n * every for n in range(1, count + 1) if n > count - 5 or n in (1, 2, 4, 8, 16, 32, 64, 128)}
    assert kept == expected


def test_old_pictures_go_and_strangers_stay(tmp_path: Path) -> None:
    picture = np.zeros((4, 4, 3), np.uint8)
    (tmp_path / "previews").mkdir()
    (tmp_path / "previews" / "mine.png").write_text("")
    for step in range(1, 60):
        file = save_preview(tmp_path, step, picture, every=1, note="hello")
    names = sorted(path.name for path in (tmp_path / "previews").iterdir())
    assert preview_steps(names) == sorted({1, 2, 4, 8, 16, 32} | set(range(40, 60)))
    assert "mine.png" in names
    with Image.open(file) as image:
        assert image.text["Description"] == "step 59. hello"


def test_confusion_counts_as_a_loop_does() -> None:
    rng = np.random.default_rng(0)
    truth, guess = rng.integers(0, 4, (2, 200))
    expected = np.zeros((4, 4), int)
    for row, column in zip(truth, guess, strict=True):
        expected[row, column] += 1
    assert (confusion_counts(truth, guess, 4) == expected).all()


@pytest.mark.parametrize("normalise", [True, False])
def test_views_hide_and_rebuild_the_same_patches(tmp_path: Path, normalise: bool) -> None:
    torch.manual_seed(0)
    network = MaskedAutoencoder(EncoderSpec("tiny", 3, 64, 16), DecoderSpec(1, 32, 2)).eval()
    x, present = torch.rand(4, 3, 64, 64), torch.ones(4, 3, dtype=torch.bool)
    x[0, 2], present[0, 2] = 0, False
    made = settings(tmp_path, tmp_path, image_px=64, mask_ratio=0.75, normalise_patches=normalise)
    views = masked_views(network, x, present, made)
    assert [name for name, _ in views] == ["input", "random\nmask", "rebuilt", "adaptive\nmask", "rebuilt"]
    for masked, rebuilt in ((views[1][1], views[2][1]), (views[3][1], views[4][1])):
        hidden = masked.isnan()
        assert hidden.float().mean(dim=(1, 2, 3)).tolist() == [0.75] * 4  # of 16 patches, in every sample
        assert torch.equal(rebuilt[~hidden], x[~hidden])
        assert (rebuilt[0, 2] == 0).all()
    hidden = views[1][1].isnan()
    patch = (slice(0, 1), slice(None), slice(0, 16), slice(0, 16))
    for y in range(0, 64, 16):
        for left in range(0, 64, 16):
            patch = (1, slice(None), slice(y, y + 16), slice(left, left + 16))
            if (
                normalise and hidden[patch].all()
            ):  # the true mean and spread, as the network's is near 0 and 1 at best
                assert abs(float(views[2][1][patch].mean() - x[patch].mean())) < 3 * float(x[patch].std())
    again = masked_views(network, x, present, made)
    assert all(
        torch.equal(a.nan_to_num(), b.nan_to_num()) for (_, a), (_, b) in zip(views, again, strict=True)
    )


@pytest.mark.parametrize(("method", "columns"), [("dama", 5), ("mae", 3), ("moco", 0)])
def test_a_pretraining_leaves_pictures(store_path: Path, tmp_path: Path, method: str, columns: int) -> None:
    small = {"projector_hidden": 16, "projector_out": 8}
    pretrain(settings(store_path, tmp_path / "job", method=method, **small))
    files = sorted((tmp_path / "job" / "previews").glob("*.png"))
    assert [file.name for file in files] == (
        [f"step_0000000{step}.png" for step in (0, 2, 4)] if columns else []
    )
    if columns:
        with Image.open(files[-1]) as image:
            assert image.width == columns * 134 - 6


def test_pictures_can_be_left_out(store_path: Path, tmp_path: Path) -> None:
    pretrain(settings(store_path, tmp_path / "job", previews=False))
    assert not (tmp_path / "job" / "previews").exists()


def test_pictures_change_no_loss(store_path: Path, tmp_path: Path) -> None:
    for name, previews in (("with", True), ("without", False)):
        pretrain(settings(store_path, tmp_path / name, previews=previews))
    one, other = ((tmp_path / name / "metrics.csv").read_text() for name in ("with", "without"))
    assert one == other


def test_types_leave_a_confusion_matrix_and_their_parent(store_path: Path, tmp_path: Path) -> None:
    quick = {key: value for key, value in QUICK.items() if key != "decoder_depth"} | {"task": "types"}
    first = {**quick, "data": [store_path], "out": tmp_path / "first"}
    finetune(FinetuneSettings.model_validate(first))
    child = {**first, "out": tmp_path / "child", "init": str(tmp_path / "first" / "model"), "lr": 1e-9}
    own = finetune(FinetuneSettings.model_validate(child))

    with (tmp_path / "child" / "previews" / "confusion.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0][0] == "true (step 4)"
    counts = np.array([row[1:] for row in rows[1:]], int)
    assert counts.trace() / counts.sum() == pytest.approx(own["accuracy"])
    metrics = Card.read(tmp_path / "first" / "model").metrics["types"]["validation"]
    parent = json.loads((tmp_path / "child" / "parent.json").read_text())["metrics"]
    assert parent["score"] == pytest.approx(metrics["score"])  # the same cells, the same network
    assert Card.read(tmp_path / "child" / "model").metrics["types"]["parent"]["validation"] == parent


def test_a_child_of_a_pretrained_model_is_measured_against_it(store_path: Path, tmp_path: Path) -> None:
    first = pretrain(settings(store_path, tmp_path / "first"))
    pretrain(settings(store_path, tmp_path / "child", init=str(tmp_path / "first" / "model"), lr=1.0))
    card = Card.read(tmp_path / "child" / "model")
    assert card.metrics["parent"]["validation"]["score"] == pytest.approx(first["score"], rel=1e-4)
    worse = card.metrics["validation"]["score"] < first["score"]
    assert any("Worse than its parent" in limit for limit in card.limits) == worse


def test_worse_than_its_parent_is_said() -> None:
    assert "0.7" in worse_than_parent("old", {"score": 0.8}, {"score": 0.7})
    assert worse_than_parent("old", {"score": 0.8}, {"score": 0.8}) == ""
    assert worse_than_parent("old", {}, {"score": 0.8}) == ""


def test_outlines_are_drawn_in_four_colours() -> None:
    truth, found = np.zeros((2, 64, 64), np.int32)
    truth[5:20, 5:20], truth[40:50, 5:20] = 1, 2
    found[6:20, 6:20], found[40:50, 40:50] = 1, 2
    grey = np.zeros((64, 64), np.float32)
    picture = outlines_picture(grey, truth, found, (np.array([1]), np.array([1])))
    assert picture.shape == (2 * 64 + 36, 128, 3)
    assert tuple(picture[10, 20]) == (255, 255, 255)
    assert tuple(picture[80, 20]) == (0xF0, 0xE4, 0x42)
    assert tuple(picture[80, 90]) == (0xD5, 0x5E, 0x00)
    assert tuple(picture[12, 20]) == (0x56, 0xB4, 0xE9)
