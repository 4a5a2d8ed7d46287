"""Curves per IoU and the error breakdown, against COCO's programs, loops, and cases made by hand."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile

from evaluate.fields import TYPES, coco_match, coco_precision, crowded, ious, mistaken, scores_of
from napari_dama.errors import OutputError, SettingsError, SlideError
from napari_dama.evaluate.curves import ONE_POINT
from napari_dama.evaluate.detections import Detections, read_detections
from napari_dama.evaluate.errors import TERMS, error_curves
from napari_dama.evaluate.match import iou_table
from napari_dama.evaluate.pairs import Pairs, box_pairs, mask_pairs, match_by_score
from napari_dama.evaluate.recall import CURVE_IOUS, recall_curves
from napari_dama.evaluate.report import FILES, write_curves
from napari_dama.evaluate.segments import evaluate_segments, score_segments


@pytest.mark.parametrize("boxes", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_pairs_are_all_that_overlap(seed: int, boxes: bool) -> None:
    truth = crowded(seed)
    truth[:, 60:] = 0
    truth[50:, 60:] = 777  # one large cell among small ones
    truth[0, 0] = truth[-1, -1] = 888  # and one that lies scattered, whose box is everything
    pred = mistaken(crowded(seed), seed)
    table = iou_table(truth, pred)
    found = (box_pairs if boxes else mask_pairs)(table, 0.1)
    slow = ious(truth, pred, boxes=boxes)
    dense = np.zeros_like(slow)
    dense[found.truth, found.pred] = found.iou
    np.testing.assert_allclose(dense, np.where(slow >= 0.1, slow, 0), atol=1e-12)
    assert (np.diff(found.pred) >= 0).all()


@pytest.mark.parametrize("iou", [0.1, 0.3, 0.5, 0.75])
@pytest.mark.parametrize("seed", range(3))
def test_matching_is_cocos(seed: int, iou: float) -> None:
    rng = np.random.default_rng(seed)
    table = rng.integers(0, 11, (30, 40)) / 10 * (rng.random((30, 40)) < 0.3)  # with many ties
    p, t = np.nonzero(table.T)
    pairs = Pairs(t, p, table[t, p], *table.shape)
    ignored = rng.random(30) < 0.3
    order = rng.permutation(40)[:33]
    expected = coco_match(table, order.tolist(), iou, ignored.tolist())
    assert match_by_score(pairs, order, iou, ignored).tolist() == expected
    plain = coco_match(table, order.tolist(), iou, [False] * 30)
    assert match_by_score(pairs, order, iou).tolist() == plain


@pytest.mark.parametrize(("limit", "ties"), [(None, False), (None, True), (10, False)])
@pytest.mark.parametrize("boxes", [False, True])
@pytest.mark.parametrize("seed", range(2))
def test_curves_equal_coco_on_whole_images(seed: int, boxes: bool, limit: int | None, ties: bool) -> None:
    from faster_coco_eval import COCO, COCOeval_faster
    from faster_coco_eval.core import mask as rle

    truths = [crowded(seed), crowded(seed + 10)]
    preds = [mistaken(labels, seed) for labels in truths]
    scores = [scores_of(pred, seed + i, ties=ties) for i, pred in enumerate(preds)]
    images, annotations, found = [], [], []
    for image, (truth, pred, score) in enumerate(zip(truths, preds, scores, strict=True), start=1):
        images.append({"id": image, "height": truth.shape[0], "width": truth.shape[1]})
        for labels, listed in ((truth, annotations), (pred, found)):
            for label in np.unique(labels)[1:]:
                ys, xs = np.nonzero(labels == label)
                one = {"id": len(listed) + 1, "image_id": image, "category_id": 1, "iscrowd": 0}
                one |= {"area": len(ys)}
                one["bbox"] = [int(xs.min()), int(ys.min()), int(np.ptp(xs)) + 1, int(np.ptp(ys)) + 1]
                one["segmentation"] = rle.encode(np.asfortranarray(labels == label, np.uint8))
                if listed is found:
                    one["score"] = score[int(label)]
                listed.append(one)
    base = {"images": images, "categories": [{"id": 1, "name": "cell"}]}
    whole = COCOeval_faster(
        COCO(base | {"annotations": annotations}),
        COCO(base | {"annotations": found}),
        "bbox" if boxes else "segm",
        print_function=lambda *_: None,
    )
    whole.params.iouThrs = np.array([*CURVE_IOUS, 0.95])
    whole.params.maxDets = [limit or 1000]
    whole.params.areaRng, whole.params.areaRngLbl = [[0, 1e10]], ["all"]
    whole.evaluate()
    whole.accumulate()
    expected = whole.eval["precision"][:, :, 0, 0, 0]
    detections = read_detections(truths, preds, scores, max_detections=limit)
    curves = recall_curves(detections, boxes=boxes, ious=(*CURVE_IOUS, 0.95))
    np.testing.assert_allclose(curves.precision, expected, atol=1e-9)
    np.testing.assert_allclose(curves.recall, whole.eval["recall"][:, 0, 0, 0], atol=1e-9)
    assert 0 <= curves.areas[7] < curves.areas[0] < 1
    if not ties:
        scored = score_segments(detections)
        ap50 = scored.box_AP50 if boxes else scored.AP50
        assert ap50 == pytest.approx(curves.areas[4], abs=1e-9) and scored.limited == (limit is not None)


def _with_types(truth: np.ndarray, pred: np.ndarray, seed: int, folder: Path) -> tuple[Path, Path]:
    """Two label TIFFs with tables beside them; of either side some cells have no type."""
    rng = np.random.default_rng(seed)
    for name, labels in (("truth", truth), ("pred", pred)):
        ids = np.unique(labels)[1:]
        names = rng.choice([*TYPES, "", *(["unheard of"] if name == "pred" else [])], len(ids))
        table = pd.DataFrame({"label": ids, "type": names})
        if name == "pred":
            table["score"] = rng.permutation(len(ids)) / 100
            table["type"] = table["type"].str.upper()
        tifffile.imwrite(folder / f"{name}.tif", labels)
        table.to_csv(folder / f"{name}.csv", index=False)
    return folder / "truth.tif", folder / "pred.tif"


@pytest.mark.parametrize("boxes", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_errors_by_type_equal_loops(seed: int, boxes: bool, tmp_path: Path) -> None:
    truth, pred = crowded(seed), mistaken(crowded(seed), seed)
    detections = read_detections(*_with_types(truth, pred, seed, tmp_path))
    glia = {"Astrocyte": "glia", "microglia": "glia"}
    found = error_curves(detections, boxes=boxes, by_type=True, families=glia)
    true_type = pd.read_csv(tmp_path / "truth.csv", keep_default_na=False)["type"].tolist()
    table = pd.read_csv(tmp_path / "pred.csv", keep_default_na=False)
    pred_type, score = table["type"].str.lower().tolist(), table["score"].tolist()
    overlap = ious(truth, pred, boxes=boxes)
    order = sorted(range(len(score)), key=lambda d: -score[d])
    assert found.types == tuple(sorted(TYPES))
    for k, name in enumerate(found.types):
        family = [other for other in TYPES if (other == "neuron") == (name == "neuron")]
        curves = []
        for iou, forgiven in ((0.75, []), (0.5, []), (0.1, []), (0.1, family), (0.1, TYPES)):
            seen = overlap.copy()
            ignored = [t == "" or (t in forgiven and t != name) for t in true_type]
            for g, kind in enumerate(true_type):
                if kind != name and not ignored[g]:
                    seen[g] = 0
            own = [d for d in order if pred_type[d] == name]
            taken = coco_match(seen, own, iou, ignored)
            hits = [taken[d] >= 0 for d in own if taken[d] < 0 or not ignored[taken[d]]]
            curves.append(coco_precision(hits, true_type.count(name)))
        curves += [[float(p > 0) for p in curves[-1]], [1.0] * 101]
        np.testing.assert_allclose(found.precision[k], curves, atol=1e-9)
        assert found.n_truth[k] == true_type.count(name)
    assert found.areas["Sim"] < found.areas["Oth"]
    assert found.areas["BG"] == pytest.approx(np.mean([a["BG"] for a in found.areas_by_type.values()]))
    together = error_curves(detections, boxes=boxes, by_type=True).areas
    assert together["Sim"] == together["Oth"] == pytest.approx(found.areas["Oth"])


def _row_of_cells(n: int = 4) -> np.ndarray:
    labels = np.zeros((20, 30 * n), np.int32)
    for i in range(n):
        labels[4:14, 30 * i + 4 : 30 * i + 14] = i + 1
    return labels


def _steps(detections: Detections, **options: bool) -> dict[str, float]:
    """What each term adds, where it adds anything."""
    areas = [0.0, *error_curves(detections, **options).areas.values()]
    steps = dict(zip(TERMS, np.diff(areas).tolist(), strict=True))
    return {term: step for term, step in steps.items() if abs(step) > 1e-9}


def _falling(pred: np.ndarray) -> dict[int, float]:
    return {int(label): 1 / int(label) for label in np.unique(pred)[1:]}


@pytest.mark.parametrize("boxes", [False, True])
def test_each_error_moves_its_own_term(boxes: bool) -> None:
    truth = _row_of_cells()

    def steps(pred: np.ndarray) -> dict[str, float]:
        return _steps(read_detections(truth, pred, _falling(pred)), boxes=boxes)

    assert steps(truth.copy()) == {"C75": pytest.approx(1)}
    shifted = truth.copy()  # by 2 of 10 px: IoU 0.67; by 5 of 10: IoU 0.33
    shifted[:, 90:] = np.roll(truth, 2, axis=1)[:, 90:]
    assert set(steps(shifted)) == {"C75", "C50"}
    shifted[:, 90:] = np.roll(truth, 5, axis=1)[:, 90:]
    assert set(steps(shifted)) == {"C75", "Loc"}
    missed = np.where(truth == 4, 0, truth)
    assert steps(missed) == {"C75": pytest.approx(76 / 101), "FN": pytest.approx(25 / 101)}
    invented = truth.copy() + (truth > 0)
    invented[15:19, 20:26] = 1  # the best score lies on background
    assert steps(invented) == {"C75": pytest.approx(0.8), "BG": pytest.approx(0.2)}


def test_a_second_detection_of_a_cell_costs_background_only() -> None:
    truth = _row_of_cells()
    pred = np.where(truth > 0, truth + 1, 0)
    pred[13:14, 4:14] = 1
    scores = {2: 0.9, 1: 0.8, 3: 0.7, 4: 0.6, 5: 0.5}  # first the cell itself, then its sliver
    assert set(_steps(read_detections(truth, pred, scores))) == {"C75", "BG"}


def test_a_wrong_type_moves_sim_only(tmp_path: Path) -> None:
    truth = _row_of_cells()
    for name, types in (("truth", "aabb"), ("pred", "abbb")):
        tifffile.imwrite(tmp_path / f"{name}.tif", truth)
        table = pd.DataFrame({"label": [1, 2, 3, 4], "type": list(types), "score": [0.5, 0.9, 0.8, 0.7]})
        table.to_csv(tmp_path / f"{name}.csv", index=False)
    detections = read_detections(tmp_path / "truth.tif", tmp_path / "pred.tif")
    steps = _steps(detections, by_type=True)
    # Half of type a is found as b, with the best score: b's precision is 1/2, then 2/3 at full recall.
    a, b = 51 / 101, 2 / 3
    expected = {"C75": (a + b) / 2, "Sim": (1 - b) / 2, "FN": (1 - a) / 2}
    assert steps == {term: pytest.approx(step) for term, step in expected.items()}
    assert set(_steps(detections)) == {"C75"}


def test_without_scores_a_curve_is_one_point_that_labels_do_not_move(tmp_path: Path) -> None:
    truth = crowded(4)
    pred = mistaken(truth, 4)
    detections = read_detections(truth, pred)
    curves = recall_curves(detections)
    assert not detections.ranked
    for i, curve in enumerate(curves.precision):
        p, r = curves.precision_of_all[i], curves.recall[i]
        assert curve.tolist() == pytest.approx([p if recall <= r else 0 for recall in np.linspace(0, 1, 101)])
    assert curves.recall[4] == evaluate_segments(truth, pred).recall_50
    renumbered = np.where(pred > 0, pred.max() + 1 - pred, 0)
    again = read_detections(truth, renumbered)
    np.testing.assert_array_equal(recall_curves(again).precision, curves.precision)
    assert error_curves(again).areas == error_curves(detections).areas
    equal = read_detections(truth, pred, dict.fromkeys(np.unique(pred).tolist(), 0.7))
    np.testing.assert_array_equal(recall_curves(equal).precision, curves.precision)
    report = write_curves(detections, tmp_path / "c")
    assert ONE_POINT in report.describe()[-1] and report.to_json()["one_point"]


def test_a_limit_takes_the_best_and_is_said(tmp_path: Path) -> None:
    truth = _row_of_cells()
    pred = truth.copy()
    scores = {1: 0.1, 2: 0.9, 3: 0.8, 4: 0.2}
    scored = evaluate_segments(truth, pred, scores, max_detections=2)
    assert scored.mAP == scored.box_mAP == pytest.approx(51 / 101) and scored.f1_50 == 1
    assert scored.max_detections == scored.n_counted == 2 and "2 best per image" in scored.describe_limit()
    report = write_curves(read_detections(truth, pred, scores, max_detections=2), tmp_path)
    assert report.errors_masks.areas["BG"] == pytest.approx(51 / 101) and "2 of 4 count" in report.limit
    with pytest.raises(SettingsError, match="needs scores"):
        evaluate_segments(truth, pred, max_detections=2)
    with pytest.raises(SettingsError, match="1 or more"):
        read_detections(truth, pred, scores, max_detections=0)


def test_files_hold_the_curves_and_are_not_overwritten(tmp_path: Path) -> None:
    truth, pred = crowded(1), mistaken(crowded(1), 1)
    detections = read_detections(*_with_types(truth, pred, 1, tmp_path))
    out = tmp_path / "new" / "curves"
    report = write_curves(detections, out, by_type=True, title="test")
    assert sorted(path.name for path in out.iterdir()) == sorted(FILES)
    table = pd.read_csv(out / "pr_boxes.csv")
    assert list(table) == ["recall", *(f"iou_{iou:g}" for iou in CURVE_IOUS)] and len(table) == 101
    np.testing.assert_allclose(table["iou_0.3"], report.pr_boxes.precision[2], atol=1e-5)
    errors = pd.read_csv(out / "errors_masks.csv")
    assert list(errors) == ["type", "recall", *TERMS] and len(errors) == 101 * 4
    whole = errors[errors["type"] == "all types"]
    np.testing.assert_allclose(whole["Loc"], report.errors_masks.mean[2], atol=1e-5)
    areas = pd.read_csv(out / "error_areas.csv").set_index(["of", "type"])
    assert areas.loc[("masks", "all types"), "C50"] == pytest.approx(
        report.errors_masks.areas["C50"], abs=1e-5
    )
    before = {path: path.read_bytes() for path in out.iterdir()}
    with pytest.raises(OutputError, match=r"holds pr_masks\.csv.*overwrit"):
        write_curves(detections, out)
    assert {path: path.read_bytes() for path in out.iterdir()} == before
    write_curves(detections, out, overwrite=True)
    assert (out / "errors.png").read_bytes() != before[out / "errors.png"]


def test_figures_show_the_terms_colours(tmp_path: Path) -> None:
    from matplotlib.image import imread

    truth = _row_of_cells()
    pred = np.where(truth == 4, 0, truth)
    write_curves(read_detections(truth, pred, _falling(pred)), tmp_path)
    picture = imread(tmp_path / "errors.png")[..., :3]
    orange = np.isclose(picture, [230 / 255, 159 / 255, 0], atol=0.01).all(axis=2)
    width = orange.shape[1]
    # A quarter of the area of two square plots is missed; the legend adds a little.
    assert 0.02 < orange.mean() < 0.2 and orange[:, : width // 2].any() and orange[:, width // 2 :].any()
    assert picture[:, :3].min() == 1 and picture[-2:].min() == 1  # nothing runs over the edge
    assert len(np.unique(imread(tmp_path / "pr.png")[..., :3].reshape(-1, 3), axis=0)) > 50


def test_bad_input_is_named(tmp_path: Path) -> None:
    cells = _row_of_cells()
    empty = np.zeros_like(cells)
    with pytest.raises(SettingsError, match="no true cell"):
        write_curves(read_detections(empty, cells), tmp_path)
    with pytest.raises(SettingsError, match="No cell was predicted"):
        write_curves(read_detections(cells, empty), tmp_path)
    with pytest.raises(SettingsError, match="type column"):
        write_curves(read_detections(cells, cells), tmp_path, by_type=True)
    assert not list(tmp_path.iterdir())
    with pytest.raises(SlideError, match="cannot be compared"):
        read_detections(cells, cells[:, 1:])
    with pytest.raises(SettingsError, match="empty score"):
        read_detections(cells, cells, {1: 0.5, 2: float("nan"), 3: 1, 4: 1})
    with pytest.raises(SettingsError, match="no image"):
        read_detections([], [])
    tifffile.imwrite(tmp_path / "p.tif", cells)
    (tmp_path / "p.csv").write_text("label,score\n1,high\n2,low\n3,low\n4,low\n", encoding="utf-8")
    with pytest.raises(SettingsError, match="Scores are numbers"):
        read_detections(cells, tmp_path / "p.tif")
    with pytest.raises(OutputError, match="is a file"):
        write_curves(read_detections(cells, cells), tmp_path / "p.csv")
    with pytest.raises(OutputError, match="cannot be written"):
        write_curves(read_detections(cells, cells), tmp_path / "p.csv" / "curves")


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write anywhere")
def test_an_unwritable_folder_is_named(tmp_path: Path) -> None:
    cells = _row_of_cells()
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(OutputError, match="cannot be written"):
            write_curves(read_detections(cells, cells), tmp_path / "curves")
    finally:
        tmp_path.chmod(0o700)
