"""Small crowded fields with predictions that are wrong in every way."""

from __future__ import annotations

import numpy as np

TYPES = ("neuron", "astrocyte", "microglia")


def crowded(seed: int, shape: tuple[int, int] = (90, 100), n: int = 45) -> np.ndarray:
    """Discs that hide parts of each other, with labels that have gaps."""
    rng = np.random.default_rng(seed)
    labels = np.zeros(shape, np.int32)
    yy, xx = np.ogrid[: shape[0], : shape[1]]
    for i in range(n):
        y, x, r = rng.integers(0, shape[0]), rng.integers(0, shape[1]), rng.uniform(3, 9)
        labels[(yy - y) ** 2 + (xx - x) ** 2 <= r * r] = 3 * i + 2
    return labels


def mistaken(labels: np.ndarray, seed: int) -> np.ndarray:
    """Cells left alone, moved over their neighbours, split, lost and invented, numbered anew."""
    rng = np.random.default_rng(seed + 100)
    out = np.zeros_like(labels)
    number = 0
    for label in rng.permutation(np.unique(labels)[1:]):
        fate = rng.random()
        if fate < 0.1:
            continue
        ys, xs = np.nonzero(labels == label)
        dy, dx = rng.integers(-4, 5, 2) * (fate > 0.45)  # the others stay where they are
        ys, xs = np.clip(ys + dy, 0, labels.shape[0] - 1), np.clip(xs + dx, 0, labels.shape[1] - 1)
        number += 1
        out[ys, xs] = number
        if fate > 0.75:  # its lower half is a cell of its own
            number += 1
            low = ys > np.median(ys)
            out[ys[low], xs[low]] = number
    out[2:7, 2:7] = number + 1
    return out


def scores_of(pred: np.ndarray, seed: int, *, ties: bool = False) -> dict[int, float]:
    """A score per label; with ``ties`` many are equal."""
    ids = np.unique(pred)[1:].tolist()
    values = np.random.default_rng(seed).permutation(len(ids)) / 100
    return dict(zip(ids, (np.round(values, 1) if ties else values).tolist(), strict=True))


def ious(truth: np.ndarray, pred: np.ndarray, *, boxes: bool) -> np.ndarray:
    """IoU (n_truth, n_pred) of every pair, from masks of the whole image."""
    true_masks = [_mask(truth == t, boxes) for t in np.unique(truth)[1:]]
    pred_masks = [_mask(pred == p, boxes) for p in np.unique(pred)[1:]]
    table = np.zeros((len(true_masks), len(pred_masks)))
    for i, a in enumerate(true_masks):
        for j, b in enumerate(pred_masks):
            table[i, j] = (a & b).sum() / (a | b).sum()
    return table


def _mask(mask: np.ndarray, boxes: bool) -> np.ndarray:
    if boxes:
        ys, xs = np.nonzero(mask)
        mask = np.zeros_like(mask)
        mask[ys.min() : ys.max() + 1, xs.min() : xs.max() + 1] = True
    return mask


def coco_match(table: np.ndarray, order: list[int], iou: float, ignored: list[bool]) -> list[int]:
    """COCO's evaluateImg written out: for each detection the true cell it takes, or -1."""
    taken = [-1] * table.shape[1]
    cells = sorted(range(table.shape[0]), key=lambda g: ignored[g])
    for d in order:
        best, chosen = min(iou, 1 - 1e-10), -1
        for g in cells:
            if g in taken:
                continue
            if chosen > -1 and not ignored[chosen] and ignored[g]:
                break
            if table[g, d] < best:
                continue
            best, chosen = table[g, d], g
        taken[d] = chosen
    return taken


def coco_precision(hits: list[bool], n_truth: int) -> list[float]:
    """COCO's accumulate written out: precision at 101 recalls."""
    points, found = [], 0
    for n, hit in enumerate(hits, start=1):
        found += hit
        points.append((found / n_truth, found / n))
    curve = []
    for recall in np.linspace(0, 1, 101):
        reached = [p for r, p in points if r >= recall]
        curve.append(max(reached) if reached else 0.0)
    return curve
