"""Scores of segments against slow references, hand-computed cases, and COCO on the whole image."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile

from evaluate.fields import crowded
from napari_dama.errors import OutputError, SettingsError, SlideError
from napari_dama.evaluate import match as match_module
from napari_dama.evaluate.coco import average_precision
from napari_dama.evaluate.curves import plot_curves
from napari_dama.evaluate.match import iou_table
from napari_dama.evaluate.segments import evaluate_segments


def _random_labels(seed: int) -> np.ndarray:
    return crowded(seed, (120, 150), 40)


def _disturbed(labels: np.ndarray, seed: int) -> np.ndarray:
    """Cells moved by a few pixels, some lost, some invented, numbered anew."""
    rng = np.random.default_rng(seed)
    out = np.zeros_like(labels)
    for number, i in enumerate(rng.permutation(np.unique(labels)[1:]), start=1):
        if rng.random() < 0.15:
            continue
        ys, xs = np.nonzero(labels == i)
        dy, dx = rng.integers(-2, 3, 2)
        keep = (ys + dy >= 0) & (ys + dy < labels.shape[0]) & (xs + dx >= 0) & (xs + dx < labels.shape[1])
        out[ys[keep] + dy, xs[keep] + dx] = number
    out[5:9, 5:9] = 999
    return out


def _slow_ious(truth: np.ndarray, pred: np.ndarray) -> dict[tuple[int, int], float]:
    found = {}
    for t in np.unique(truth)[1:]:
        for p in np.unique(pred)[1:]:
            both = ((truth == t) & (pred == p)).sum()
            if both:
                found[int(t), int(p)] = both / ((truth == t) | (pred == p)).sum()
    return found


@pytest.mark.parametrize("strip", [1024, 7])
@pytest.mark.parametrize("seed", range(3))
def test_iou_table_equals_a_loop(seed: int, strip: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(match_module, "STRIP_PX", strip)
    truth = _random_labels(seed)
    pred = _disturbed(truth, seed)
    table = iou_table(truth, pred.astype(np.uint16))
    slow = _slow_ious(truth, pred)
    t, p = table.truth.ids[table.truth_index], table.pred.ids[table.pred_index]
    assert {(int(a), int(b)): pytest.approx(i) for a, b, i in zip(t, p, table.iou, strict=True)} == slow
    for i, label in enumerate(table.truth.ids):
        ys, xs = np.nonzero(truth == label)
        assert table.truth.area[i] == len(ys)
        assert list(table.truth.boxes[i]) == [ys.min(), xs.min(), ys.max() + 1, xs.max() + 1]


def test_huge_labels_do_not_overflow() -> None:
    truth = np.array([[0, 2**32 - 1, 2**32 - 1]], np.uint32)
    table = iou_table(truth, truth.astype(np.uint64) * np.uint64(2**30))
    assert table.iou.tolist() == [1.0]


@pytest.mark.parametrize("boxes", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_ap_equals_coco_on_the_whole_image(seed: int, boxes: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    from faster_coco_eval import COCO, COCOeval_faster
    from faster_coco_eval.core import mask as rle

    monkeypatch.setattr("napari_dama.evaluate.coco._GROUP_CELLS", 5)
    truth = _random_labels(seed)
    pred = _disturbed(truth, seed)
    table = iou_table(truth, pred)
    scores = np.random.default_rng(seed).permutation(len(table.pred)) / 100.0

    def annotations(labels: np.ndarray, confidence: np.ndarray | None) -> list[dict]:
        listed = []
        for i, label in enumerate(np.unique(labels)[1:]):
            ys, xs = np.nonzero(labels == label)
            one = {"id": i + 1, "image_id": 1, "category_id": 1, "iscrowd": 0, "area": len(ys)}
            one["bbox"] = [int(xs.min()), int(ys.min()), int(np.ptp(xs)) + 1, int(np.ptp(ys)) + 1]
            one["segmentation"] = rle.encode(np.asfortranarray(labels == label, np.uint8))
            if confidence is not None:
                one["score"] = float(confidence[i])
            listed.append(one)
        return listed

    base = {"images": [{"id": 1, "height": 120, "width": 150}], "categories": [{"id": 1, "name": "c"}]}
    whole = COCOeval_faster(
        COCO(base | {"annotations": annotations(truth, None)}),
        COCO(base | {"annotations": annotations(pred, scores)}),
        "bbox" if boxes else "segm",
        print_function=lambda *_: None,
    )
    whole.params.maxDets = [1, 10, 1000]
    whole.evaluate()
    whole.accumulate()
    expected = whole.eval["precision"][:, :, 0, 0, -1]
    found = average_precision([table], [scores], boxes=boxes)
    np.testing.assert_allclose(found.curves, expected, atol=1e-12)
    assert 0.02 < found.mean < 0.98 and found.at_50 > found.mean
    assert found.at_75 == pytest.approx(expected[5].mean())


def test_ap_against_a_hand_drawn_curve() -> None:
    # Four true cells; by falling score: hit, miss, hit. Recall reaches 0.5; precision 1 to 0.25, then 2/3.
    truth = np.zeros((10, 90), np.int32)
    pred = np.zeros_like(truth)
    for i in range(4):
        truth[2:8, 20 * i : 20 * i + 8] = i + 1
    pred[2:8, 0:8], pred[2:8, 81:88], pred[2:8, 20:28] = 1, 2, 3
    scores = evaluate_segments(truth, pred, {1: 0.9, 2: 0.8, 3: 0.7})
    expected = (26 * 1 + 25 * 2 / 3) / 101
    assert scores.mAP == pytest.approx(expected) and scores.box_AP75 == pytest.approx(expected)
    assert scores.f1_50 == pytest.approx(2 * 2 / 7)
    assert scores.precision_50 == pytest.approx(2 / 3) and scores.recall_50 == pytest.approx(0.5)
    assert scores.pq == pytest.approx(2 / 3.5) and scores.sq == 1
    worse = evaluate_segments(truth, pred, {1: 0.7, 2: 0.9, 3: 0.8})
    assert worse.mAP < scores.mAP and worse.f1_50 == scores.f1_50


def test_identical_images_are_perfect_with_more_cells_than_coco_counts() -> None:
    labels = np.kron(np.arange(1, 401).reshape(20, 20), np.pad(np.ones((6, 6), int), 1))
    scores = evaluate_segments(labels, labels[::1].copy())
    for name in ("mAP", "AP50", "AP75", "box_mAP", "box_AP50", "box_AP75", "f1_50", "pq", "sq"):
        assert getattr(scores, name) == pytest.approx(1), name
    assert scores.n_truth == scores.n_pred == scores.max_detections == 400


def test_a_shift_costs_what_it_must() -> None:
    # Squares of 8 px moved by 2: IoU 6 x 8 / (10 x 8) = 0.6, so the IoUs 0.50, 0.55, 0.60 count.
    labels = np.kron(np.arange(1, 26).reshape(5, 5), np.pad(np.ones((8, 8), int), 4))
    scores = evaluate_segments(labels, np.roll(labels, 2, axis=1))
    assert scores.mAP == pytest.approx(0.3) and scores.box_mAP == pytest.approx(0.3)
    assert scores.AP75 == 0 and scores.sq == pytest.approx(0.6) and scores.pq == pytest.approx(0.6)


def test_nothing_true_nothing_predicted() -> None:
    cells = np.zeros((20, 20), int)
    cells[3:9, 3:9] = 1
    empty = np.zeros_like(cells)
    missed = evaluate_segments(cells, empty)
    assert missed.mAP == missed.f1_50 == missed.recall_50 == missed.pq == 0 and math.isnan(
        missed.precision_50
    )
    invented = evaluate_segments(empty, cells)
    assert math.isnan(invented.mAP) and invented.precision_50 == invented.f1_50 == 0
    assert invented.to_json()["mAP"] is None
    none = evaluate_segments(empty, empty)
    assert math.isnan(none.f1_50) and none.describe()


def test_files_folders_and_scores_beside_them(tmp_path: Path) -> None:
    import zarr

    truth = _random_labels(5)
    pred = _disturbed(truth, 5)
    tifffile.imwrite(tmp_path / "truth.tif", truth, compression="zlib")
    group = zarr.open_group(str(tmp_path / "out" / "labels.ome.zarr"), mode="w", zarr_format=2)
    group.create_array("0", data=pred.astype(np.uint32), chunks=(64, 64))
    ids = np.unique(pred)[1:]
    values = np.random.default_rng(0).permutation(len(ids)) / 50
    table = pd.DataFrame({"label": ids, "y": 0, "x": 0, "score": values})
    table.to_csv(tmp_path / "out" / "cells.csv", index=False)
    scores = evaluate_segments(tmp_path / "truth.tif", tmp_path / "out")
    same = evaluate_segments(truth, pred, dict(zip(ids.tolist(), values.tolist(), strict=True)))
    assert scores.to_json() == same.to_json() and scores.scored
    assert not evaluate_segments(truth, pred).scored
    table.iloc[1:].to_csv(tmp_path / "out" / "cells.csv", index=False)
    with pytest.raises(SettingsError, match="no score"):
        evaluate_segments(truth, str(tmp_path / "out"))


def test_several_images_are_pooled() -> None:
    labels = np.kron(np.arange(1, 10).reshape(3, 3), np.pad(np.ones((6, 6), int), 2))
    scores = evaluate_segments([labels, labels], [labels, np.zeros_like(labels)])
    assert scores.n_truth == 18 and scores.recall_50 == 0.5 and scores.f1_50 == pytest.approx(2 / 3)
    with pytest.raises(SettingsError, match="2 true and 1 predicted"):
        evaluate_segments([labels, labels], [labels])


def test_different_shapes_are_named(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((5, 6), np.uint16))
    with pytest.raises(SlideError, match=r"a\.tif is \(5, 6\).*prediction is \(6, 6\)"):
        evaluate_segments(tmp_path / "a.tif", np.zeros((6, 6), int))


def test_curves_are_drawn(tmp_path: Path) -> None:
    labels = _random_labels(1)
    scores = evaluate_segments(labels, _disturbed(labels, 1))
    assert plot_curves(scores, tmp_path / "c.png", title="test").read_bytes()[:4] == b"\x89PNG"
    assert [p.name for p in tmp_path.iterdir()] == ["c.png"]
    with pytest.raises(OutputError, match="exists"):
        plot_curves(scores, tmp_path / "c.png")
    with pytest.raises(OutputError, match=r"\.png"):
        plot_curves(scores, tmp_path / "c.gif")
    plot_curves(evaluate_segments(labels * 0, labels), tmp_path / "c.png", overwrite=True)


def test_experts_agree_as_little_as_the_readme_says(data_dir: Path) -> None:
    folder = data_dir / "codex_lymphoid"
    scores = evaluate_segments(folder / "R001_X003_Y004_expert1.tif", folder / "R001_X003_Y004_expert2.tif")
    assert scores.f1_50 == pytest.approx(0.36, abs=0.02)
