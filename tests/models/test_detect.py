"""Cells of a tile with scores, from a model with either head; cards of before there were two."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from napari_dama.cells.instances import instances_from_maps
from napari_dama.errors import ModelError
from napari_dama.models.build import brain_card, new_model, save_model
from napari_dama.models.card import CARD, Architecture, Card
from napari_dama.models.detect import CELL_SCORE, detect
from napari_dama.models.model import Model
from napari_dama.models.shelf import load_model
from napari_dama.nets.mask_rcnn import MaskRcnn

pytestmark = pytest.mark.usefixtures("one_thread")


def mask_rcnn_card(**changes: object) -> Card:
    card = brain_card("boxes", tasks=("segments",))
    shape = {"head": "mask-rcnn", "box_width": 8, "detections": 9} | changes
    card.architecture = Architecture.model_validate(shape)
    return card


def test_a_model_with_mask_rcnn_comes_back_as_it_was(tmp_path: Path) -> None:
    model = new_model(mask_rcnn_card(use_pixels=False, anchors_px=[[8], [16], [32], [64]]), seed=1)
    save_model(model, tmp_path / "m")
    again = load_model(tmp_path / "m")
    part = again.parts["segments"]
    assert isinstance(part, MaskRcnn) and part.pixels is None and part.spec.detections == 9
    assert again.card.model_dump() == model.card.model_dump()
    save_model(again, tmp_path / "twice")
    x = torch.rand(1, 7, 128, 128)
    (one,), (two,) = again.detect(x), load_model(tmp_path / "twice").detect(x)
    assert np.array_equal(one.labels, two.labels) and np.array_equal(one.scores, two.scores)


def test_weights_of_one_head_do_not_fit_the_card_of_the_other(tmp_path: Path) -> None:
    save_model(new_model(mask_rcnn_card(), seed=1), tmp_path / "m")
    facts = json.loads((tmp_path / "m" / CARD).read_text())
    facts["architecture"]["head"] = "dense"
    (tmp_path / "m" / CARD).write_text(json.dumps(facts))
    with pytest.raises(ModelError, match="does not fit its card"):
        load_model(tmp_path / "m")


def test_a_card_from_before_the_heads_is_dense(tmp_path: Path) -> None:
    save_model(new_model(brain_card("old", tasks=("segments",)), seed=1), tmp_path / "m")
    facts = json.loads((tmp_path / "m" / CARD).read_text())
    for name in ("head", "box_width", "anchors_px", "detections"):
        del facts["architecture"][name]
    (tmp_path / "m" / CARD).write_text(json.dumps(facts))
    model = load_model(tmp_path / "m")
    assert model.card.architecture.head == "dense"
    assert model.segment_maps(torch.rand(1, 7, 128, 128)).shape == (1, 2, 128, 128)


def test_a_card_with_odd_anchors_is_refused(tmp_path: Path) -> None:
    save_model(new_model(mask_rcnn_card(), seed=1), tmp_path / "m")
    facts = json.loads((tmp_path / "m" / CARD).read_text())
    facts["architecture"]["anchors_px"] = [[8], [8, 9], [8], [8]]
    (tmp_path / "m" / CARD).write_text(json.dumps(facts))
    with pytest.raises(ModelError, match="anchors need as many sizes at each of the four strides"):
        load_model(tmp_path / "m")


def test_detections_of_mask_rcnn_are_best_first_and_apart() -> None:
    model = new_model(mask_rcnn_card(), seed=2)
    found = model.detect(torch.rand(2, 7, 128, 256))
    assert len(found) == 2
    for one in found:
        n = len(one.scores)
        assert 0 < n <= 9 == one.limit and one.labels.shape == (128, 256) and one.labels.dtype == np.int32
        assert sorted(np.unique(one.labels)) == [0, *range(1, n + 1)]
        assert (np.diff(one.scores) <= 0).all() and one.boxes.shape == (n, 4)
        assert one.certain == (one.scores >= CELL_SCORE).sum()
        assert one.cells().max(initial=0) == one.certain
        for label, (x0, y0, x1, y1) in enumerate(one.boxes, start=1):
            y, x = np.nonzero(one.labels == label)
            assert y0 <= y.min() + 0.5 and y.max() + 0.5 <= y1 and x0 <= x.min() + 0.5 and x.max() + 0.5 <= x1


class Drawn(torch.nn.Module):
    """Stands in for a dense network: logits of given maps."""

    def __init__(self, maps: torch.Tensor) -> None:
        super().__init__()
        self.maps = maps

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.logit(self.maps[None].expand(len(x), -1, -1, -1), eps=1e-6)


def test_detections_of_the_dense_head_are_its_instances_best_first() -> None:
    y, x = np.mgrid[:128, :128]
    maps = np.zeros((2, 128, 128), np.float32)
    for (cy, cx), sure in zip([(30, 30), (30, 90), (90, 60)], (0.7, 0.95, 0.8), strict=True):
        away = np.hypot(y - cy, x - cx)
        maps[0][away < 20] = sure
        maps[1] = np.maximum(maps[1], np.clip(1 - away / 20, 0, 1))
    (found,) = detect(Drawn(torch.from_numpy(maps)), torch.zeros(1, 7, 128, 128), pixel_um=0.254)
    labels, scores = instances_from_maps(maps[0], maps[1], pixel_um=0.254)
    assert found.certain == len(scores) == 3 and found.limit is None
    assert found.scores.tolist() == pytest.approx(sorted(scores.tolist(), reverse=True), abs=1e-4)
    assert [found.labels[30, 90], found.labels[90, 60], found.labels[30, 30]] == [1, 2, 3]
    assert np.array_equal(found.labels > 0, labels > 0)
    for label, box in enumerate(found.boxes, start=1):
        rows, columns = np.nonzero(found.labels == label)
        assert box.tolist() == [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]


@pytest.mark.parametrize("head", ["dense", "mask-rcnn"])
def test_a_model_finds_nothing_where_its_network_sees_nothing(head: str) -> None:
    card = mask_rcnn_card(head=head)
    model = new_model(card, seed=0)
    part = model.parts["segments"]
    with torch.no_grad():
        if isinstance(part, MaskRcnn):
            part.roi_heads.box_predictor.cls_score.bias[0] = 50.0
        else:
            part.head.bias[0] = -50.0
    x = torch.rand(1, 7, 128, 128)
    (found,) = Model(card, {"segments": part}).detect(x)
    assert len(found.scores) == 0 and found.boxes.shape == (0, 4) and not found.labels.any()
    assert float(model.segment_maps(x)[:, 0].max()) < 0.5
