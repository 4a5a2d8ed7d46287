"""The main job with a model whose segmentation head is Mask R-CNN, taught in the test on the slide it then analyses."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest
import tifffile
import torch
from numpy.typing import NDArray

from napari_dama.cells.instances import instances_from_maps
from napari_dama.evaluate.match import iou_table
from napari_dama.evaluate.segments import evaluate_segments
from napari_dama.models.build import new_model
from napari_dama.models.card import Architecture, Card
from napari_dama.models.model import Model
from napari_dama.nets.boxes import box_target
from napari_dama.nets.encoder import SIZES
from napari_dama.nets.mask_rcnn import MaskRcnn
from napari_dama.predict.analyse import analyse
from napari_dama.training.segments import load_field

PIXEL_UM = 0.254
SIDE = 128
CELLS = ((25, 25, 16, 20), (25, 66, 18, 20), (72, 28, 20, 14), (78, 80, 22, 22), (112, 33, 12, 18))


pytestmark = pytest.mark.usefixtures("one_thread")


class Taught(NamedTuple):
    slide: Path
    labels: NDArray[np.int32]
    pixels: NDArray[np.float32]
    model: Model
    losses: list[float]


@pytest.fixture(scope="module")
def taught(one_thread: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Taught]:
    """A net of two blocks after 50 steps on one slide of five cells, two of which touch."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(SIZES, "tiny", (48, 2, 3))
        yield teach(tmp_path_factory.mktemp("taught"))


def teach(folder: Path) -> Taught:
    y, x = np.mgrid[:SIDE, :SIDE]
    labels = np.zeros((SIDE, SIDE), np.int32)
    for label, (cy, cx, ry, rx) in enumerate(CELLS, start=1):
        labels[((y - cy) / ry) ** 2 + ((x - cx) / rx) ** 2 <= 1] = label
    image = np.random.default_rng(0).normal(100, 5, (2, SIDE, SIDE))
    image[0][labels > 0] += 900
    image[1][labels % 2 == 1] += 900
    slide = folder / "five.ome.tif"
    metadata = {"axes": "CYX", "Channel": {"Name": ["DAPI", "NeuN"]}}
    metadata |= {"PhysicalSizeX": PIXEL_UM, "PhysicalSizeY": PIXEL_UM}
    tifffile.imwrite(slide, image.astype(np.uint16), ome=True, photometric="minisblack", metadata=metadata)
    tifffile.imwrite(folder / "five_cells.tif", labels)
    shape = {"head": "mask-rcnn", "box_width": 16, "detections": 50}
    card = Card(
        name="five",
        tasks=["segments"],
        panel=["DAPI", "NeuN"],
        nuclear=["DAPI"],
        pixel_um=PIXEL_UM,
        image_px=64,
        architecture=Architecture.model_validate(shape),
    )
    field = load_field(slide, folder / "five_cells.tif", card.to_panel(), PIXEL_UM)
    pixels = field.pixels.astype(np.float32)
    net = new_model(card, seed=0).parts["segments"].requires_grad_(True).train()
    assert isinstance(net, MaskRcnn)
    given, target = torch.from_numpy(pixels)[None], [box_target(torch.from_numpy(labels.astype(np.int64)))]
    optimiser = torch.optim.AdamW(net.parameters(), lr=2e-3)
    seen = []
    torch.manual_seed(0)
    for _ in range(50):
        total = torch.stack(list(net.losses(given, target).values())).sum()
        optimiser.zero_grad()
        total.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(net.parameters(), 3.0)
        optimiser.step()
        seen.append(float(total.detach()))
    model = Model(card, {"segments": net}, precision="float32")
    return Taught(slide, labels, pixels, model, seen)


def f1(truth: NDArray[np.integer], found: NDArray[np.integer]) -> float:
    hits = len(iou_table(truth, found).matches(0.5)[0])
    return 2 * hits / (len(np.unique(truth[truth > 0])) + len(np.unique(found[found > 0])))


def test_a_tiny_net_learns_five_cells(taught: Taught) -> None:
    assert np.mean(taught.losses[-5:]) < 0.5 * np.mean(taught.losses[:3])
    (found,) = taught.model.detect(torch.from_numpy(taught.pixels)[None])
    assert found.certain == 5 and f1(taught.labels, found.cells()) > 0.7
    scores = {label: float(score) for label, score in enumerate(found.scores, start=1)}
    assert evaluate_segments(taught.labels, found.labels, scores).AP50 > 0.7


def test_its_maps_give_its_cells_back(taught: Taught) -> None:
    x = torch.from_numpy(taught.pixels)[None]
    maps = taught.model.segment_maps(x)[0].numpy()
    (found,) = taught.model.detect(x)
    labels, _ = instances_from_maps(maps[0], maps[1], pixel_um=PIXEL_UM)
    assert f1(found.cells(), labels) == 1
    one, other = labels[25, 25], labels[25, 66]
    assert one > 0 and other > 0 and one != other  # these two touch


@pytest.mark.parametrize("tile_px", [64, 1024])
def test_analyse_writes_its_result(taught: Taught, tmp_path: Path, tile_px: int) -> None:
    result = analyse(taught.slide, tmp_path / "out", model=taught.model, device="cpu", tile_px=tile_px)
    cells, labels = result.cells(), result.labels.compute()
    assert result.run["state"] == "done" and len(cells) == len(np.unique(labels)) - 1
    assert f1(taught.labels, labels.astype(np.int32)) > 0.7
    assert cells["score"].between(0.2, 1).all() and cells["area_um2"].gt(0).all()
    read = pd.read_csv(tmp_path / "out" / "cells.csv")
    assert set(read["label"]) == set(np.unique(labels)) - {0} and "type" not in read
