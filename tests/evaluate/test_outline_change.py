"""Two segmentations of checked areas, against plain loops over cells."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy import stats

from napari_dama.errors import SettingsError
from napari_dama.evaluate.outline_change import CheckedArea, compare_outlines

Image = np.ndarray  # type: ignore[type-arg]


def blobs(rng: np.random.Generator, count: int, shift: int) -> Image:
    """Squares on a grid, each a little displaced, some left out."""
    out = np.zeros((96, 96), np.int32)
    for number in range(count):
        y, x = 2 + 16 * (number // 6), 2 + 16 * (number % 6)
        dy, dx = rng.integers(-shift, shift + 1, 2)
        if rng.random() < 0.85:
            out[max(0, y + dy) : y + dy + 10, max(0, x + dx) : x + dx + 10] = number + 1
    return out


def slow(area: CheckedArea, found: Image) -> tuple[dict[int, bool], list[float], float, int]:
    """Which checked cells are found, IoU of the pairs, mean largest IoU of the corrected, false finds."""
    hits: dict[int, bool] = {}
    pairs: list[float] = []
    best: list[float] = []
    used = set()
    for label in sorted(set(area.labels[area.zone].tolist()) - {0}):
        own = area.labels == label
        ious = {}
        for other in sorted(set(found.ravel().tolist()) - {0}):
            there = found == other
            ious[other] = (own & there).sum() / (own | there).sum()
        top = max(ious.values(), default=0.0)
        hits[label] = top >= 0.5
        if hits[label]:
            pairs.append(top)
            used.add(max(ious, key=lambda k: ious[k]))
        if label in area.corrected:
            best.append(top)
    false = 0
    for other in set(found.ravel().tolist()) - {0} - used:
        there = found == other
        false += int((there & area.zone).sum() > there.sum() / 2)
    return hits, pairs, float(np.mean(best)), false


@pytest.mark.parametrize("seed", range(4))
def test_against_loops(seed: int) -> None:
    rng = np.random.default_rng(seed)
    areas, before, after = [], [], []
    for _ in range(2):
        labels = blobs(rng, 36, 0)
        zone = np.zeros((96, 96), bool)
        zone[:48, :64] = True
        zone |= np.isin(labels, np.unique(labels[zone])[1:])
        areas.append(CheckedArea(labels, zone, frozenset({1, 3, 9, 15})))
        before.append(blobs(rng, 36, 5))
        after.append(blobs(rng, 36, 2))
    found = compare_outlines(areas, before, after)
    told = [[slow(area, image) for area, image in zip(areas, side, strict=True)] for side in (before, after)]
    hits = [[hit for each in side for hit in each[0].values()] for side in told]
    better = sum(b and not a for a, b in zip(*hits, strict=True))
    worse = sum(a and not b for a, b in zip(*hits, strict=True))
    assert (found.better, found.worse, found.n, found.areas) == (better, worse, len(hits[0]), 2)
    assert found.p == pytest.approx(stats.binomtest(better, better + worse).pvalue if better + worse else 1.0)
    for side, plain in ((found.before, told[0]), (found.after, told[1])):
        assert side.found == sum(sum(each[0].values()) for each in plain)
        assert side.missed == found.n - side.found
        assert side.false == sum(each[3] for each in plain)
        assert side.iou == pytest.approx(np.mean([iou for each in plain for iou in each[1]]))
        assert side.f1 == pytest.approx(2 * side.found / (2 * side.found + side.missed + side.false))
        hand = [
            each[0][label]
            for area, each in zip(areas, plain, strict=True)
            for label in each[0]
            if label in area.corrected
        ]
        assert side.corrected == sum(hand) and found.corrected == len(hand)
        assert side.near == side.found - side.corrected
    assert found.improved == (found.after.f1 > found.before.f1)
    json.dumps(found.to_json(), allow_nan=False)


def test_verdicts_and_words() -> None:
    labels = blobs(np.random.default_rng(0), 36, 0)
    area = CheckedArea(labels, np.ones(labels.shape, bool), frozenset({1}))
    nothing = np.zeros_like(labels)
    better = compare_outlines([area], [nothing], [labels])
    assert (
        better.verdict == "better" and better.improved and better.after.f1 == 1 and better.after.overlap == 1
    )
    assert "are better" in better.sentence and "in 1 area;" in better.sentence
    worse = compare_outlines([area], [labels], [nothing])
    assert worse.verdict == "worse" and not worse.improved and "WORSE" in worse.sentence
    assert worse.to_json()["after"]["iou"] is None
    same = compare_outlines([area], [labels], [labels])
    assert same.verdict == "open" and not same.improved and same.p == 1
    with pytest.raises(SettingsError, match="No area is held out"):
        compare_outlines([], [], [])
    with pytest.raises(SettingsError, match="1 areas, 0 images"):
        compare_outlines([area], [], [])
