"""Outlines taught with either head on the same tiles: runs in miniature, resumed, and with odd data."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch

from napari_dama.errors import Interrupted, SettingsError, SlideError, StoreError
from napari_dama.models.build import brain_card, new_model, save_model
from napari_dama.models.card import Card
from napari_dama.models.shelf import load_model
from napari_dama.nets.encoder import EncoderSpec
from napari_dama.nets.mask_rcnn import MaskRcnn, MaskRcnnSpec
from napari_dama.nets.segmenter import DenseSegmenter, DenseSpec
from napari_dama.training.finetune import finetune
from napari_dama.training.heads import BoxTraining, DenseTraining, head_training
from napari_dama.training.segments import load_field
from napari_dama.training.settings import FinetuneSettings, checked
from training.test_runs import losses

SHORT = {
    "max_steps": 3,
    "batch_size": 2,
    "log_every": 1,
    "validate_every": 100,
    "device": "cpu",
    "tile_px": 128,
    "detections": 20,
}


@pytest.fixture(scope="module")
def tissue(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from napari_dama.simulate import write_simulated

    folder = tmp_path_factory.mktemp("tissue")
    write_simulated(folder, n=2, size=160, seed=1)
    return folder


def outlining(data: Path, out: Path, **changes: object) -> FinetuneSettings:
    raw = {"task": "segments", "head": "mask-rcnn", "data": [data], "out": out} | SHORT | changes
    return checked(FinetuneSettings, raw, where="test")


def write_pair(folder: Path, name: str, labels: np.ndarray[tuple[int, int], np.dtype[np.uint16]]) -> None:
    """A slide with its label image: noise, and DAPI bright where the cells are."""
    rng = np.random.default_rng([ord(letter) for letter in name])
    image = rng.integers(90, 110, (2, *labels.shape)).astype(np.uint16)
    image[0] += (labels > 0) * np.uint16(900)
    metadata = {
        "axes": "CYX",
        "Channel": {"Name": ["DAPI", "NeuN"]},
        "PhysicalSizeX": 0.254,
        "PhysicalSizeY": 0.254,
    }
    tifffile.imwrite(folder / f"{name}.ome.tif", image, ome=True, photometric="minisblack", metadata=metadata)
    tifffile.imwrite(folder / f"{name}_cells.tif", labels.astype(np.uint16))


def blocks(side: int = 160) -> np.ndarray[tuple[int, int], np.dtype[np.uint16]]:
    labels = np.zeros((side, side), np.uint16)
    for label, (y, x) in enumerate([(10, 10), (10, 70), (80, 10), (80, 80)], start=1):
        labels[y : y + 40, x : x + 50] = label
    return labels


def test_mask_rcnn_leaves_a_model_that_loads(tissue: Path, tmp_path: Path) -> None:
    metrics = finetune(outlining(tissue, tmp_path / "job", anchors_px=[[16], [32], [64], [128]]))
    assert {"f1_50", "f1_50_nuclear_only", "mAP", "AP50", "AP75", "score"} <= set(metrics)
    assert metrics["detection_limit"] == 20
    model = load_model(tmp_path / "job" / "model")
    shape = model.card.architecture
    assert shape.head == "mask-rcnn" and shape.detections == 20 and shape.box_width == 64
    assert shape.anchors_px == ((16,), (32,), (64,), (128,))
    maps = model.segment_maps(torch.rand(1, 7, 128, 256))
    assert maps.shape == (1, 2, 128, 256) and float(maps.min()) >= 0 and float(maps.max()) <= 1
    with (tmp_path / "job" / "metrics.csv").open() as file:
        assert file.readline().strip() == "step,epoch,loss,objectness,proposal,class,box,mask,lr"


def test_mask_rcnn_resumes_bit_for_bit(tissue: Path, tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    finetune(outlining(tissue, whole, name="same"))
    asked = 0

    def stop() -> bool:
        nonlocal asked
        asked += 1
        return asked == 3

    with pytest.raises(Interrupted):
        finetune(outlining(tissue, cut, name="same"), stop=stop)
    finetune(outlining(tissue, cut, name="same"), resume=True)
    assert losses(whole) == losses(cut) and len(losses(cut)) == 3
    one, other = (path / "model" / "weights.safetensors" for path in (whole, cut))
    assert one.read_bytes() == other.read_bytes()


def test_a_parent_with_the_other_head_gives_its_encoder(tissue: Path, tmp_path: Path) -> None:
    save_model(new_model(brain_card("dense", tasks=("segments",)), seed=3), tmp_path / "parent")
    settings = outlining(tissue, tmp_path / "job", init=str(tmp_path / "parent"), freeze_encoder=True)
    finetune(settings)
    old, new = load_model(tmp_path / "parent").state(), load_model(tmp_path / "job" / "model").state()
    encoder = [name for name in old if name.startswith("segments.encoder.")]
    assert encoder and all(torch.equal(old[name], new[name]) for name in encoder)
    assert Card.read(tmp_path / "job" / "model").architecture.head == "mask-rcnn"


@pytest.mark.parametrize("head", ["dense", "mask-rcnn"])
def test_slides_with_few_cells_or_none(tmp_path: Path, head: str) -> None:
    """A slide without cells is legal beside others; alone there is nothing to learn."""
    data = tmp_path / "data"
    data.mkdir()
    empty = np.zeros((160, 160), np.uint16)
    for name, labels in (("a", empty), ("b", empty), ("c", blocks())):
        write_pair(data, name, labels)
    results = []
    for seed in range(3):  # whichever is held out
        out = tmp_path / f"job{seed}"
        try:
            results.append(finetune(outlining(data, out, head=head, max_steps=1, seed=seed))["score"])
        except StoreError as error:
            assert "no cell in the labels of" in str(error)
            assert json.loads((out / "status.json").read_text())["state"] == "failed"
            results.append(-1.0)
    assert all(np.isfinite(results)) and max(results) >= 0


def test_slides_without_any_cell_are_refused(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_pair(tmp_path, name, np.zeros((160, 160), np.uint16))
    with pytest.raises(StoreError, match=r"no cell in the labels of [ab]\.ome\.tif"):
        finetune(outlining(tmp_path, tmp_path / "job"))


@pytest.mark.parametrize("head", ["dense", "mask-rcnn"])
def test_a_field_smaller_than_the_window_is_refused(tmp_path: Path, head: str) -> None:
    write_pair(tmp_path, "a", blocks())
    write_pair(tmp_path, "small", blocks()[:100])
    with pytest.raises(StoreError, match=r"small\.ome\.tif is 100 x 160 px .* at least 128 x 128"):
        finetune(outlining(tmp_path, tmp_path / "job", head=head))


def test_labels_come_from_a_file_or_an_array_and_are_checked(tmp_path: Path) -> None:
    write_pair(tmp_path, "a", blocks())
    image, file, panel = tmp_path / "a.ome.tif", tmp_path / "a_cells.tif", brain_card("probe").to_panel()
    one, other = (load_field(image, labels, panel, 0.254) for labels in (file, blocks()))
    assert np.array_equal(one.labels, other.labels) and np.array_equal(one.labels, blocks())
    with pytest.raises(SlideError, match=r"is \(100, 160\) px, its slide a\.ome\.tif is \(160, 160\)"):
        load_field(image, blocks()[:100], panel, 0.254)
    file.write_bytes(b"no image")
    with pytest.raises(SlideError, match=r"a_cells\.tif"):
        load_field(image, file, panel, 0.254)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"use_tokens": False}, "head=mask-rcnn is built on the encoder's tokens"),
        ({"head": "boxes"}, "'dense' or 'mask-rcnn', got 'boxes'"),
        ({"detections": 0}, "greater than or equal to 1, got 0"),
        ({"anchors_px": [[8], [16], [32]]}, "Field required"),
        ({"anchors_px": [[8], [16], [32], [64, 96]]}, "as many sizes at each of the four strides"),
        ({"anchors_px": [[8], [16], [32], [0]]}, "greater than 0, got 0"),
    ],
)
def test_settings_that_cannot_be_are_refused(tmp_path: Path, changes: dict[str, object], said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        outlining(tmp_path, tmp_path / "job", **changes)


def test_anchors_can_be_set_as_text(tmp_path: Path) -> None:
    settings = outlining(tmp_path, tmp_path / "job").with_overrides(["anchors_px=[[8],[16],[32],[64]]"])
    assert settings.anchors_px == ((8,), (16,), (32,), (64,))


@pytest.mark.parametrize("size", [128, 192, 75])
def test_truth_of_a_window(size: int) -> None:
    """Labels are taken from the nearest pixel and never blended; maps lie in 0..1."""
    spec = EncoderSpec("tiny", channels=2, image_px=64)
    labels = blocks(128).astype(np.int32)
    distance = (labels > 0).astype(np.uint8) * 200
    boxes = head_training(MaskRcnn(spec, MaskRcnnSpec(width=8)))
    dense = head_training(DenseSegmenter(spec, DenseSpec((4, 4, 4, 4))))
    assert isinstance(boxes, BoxTraining) and isinstance(dense, DenseTraining)
    (got,) = boxes.truth(labels, distance, size).numpy()
    for y in range(0, size, 7):
        for x in range(0, size, 5):
            assert got[y, x] == labels[int((y + 0.5) * 128 / size), int((x + 0.5) * 128 / size)]
    maps = dense.truth(labels, distance, size)
    assert maps.shape == (2, size, size) and float(maps.max()) == 1 and float(maps.min()) == 0
