"""Outlines enclose the centres of their cell's pixels and of no other, whatever the cell's shape and the tiling."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
import zarr
from PIL import Image, ImageDraw
from skimage.draw import polygon
from tests.export.fields import awkward_labels

from napari_dama.errors import Interrupted
from napari_dama.export.outlines import Outline, cell_boxes, cell_outlines, mask_pieces, signed_area
from napari_dama.export.watch import Watch


def rasterised(outline: Outline, shape: tuple[int, int]) -> np.ndarray:
    """Which pixel centres an outline encloses: centres of pixel (r, c) lie at x = c + 0.5, y = r + 0.5."""
    mask = np.zeros(shape, bool)
    for piece in outline.pieces:
        own = np.zeros(shape, bool)
        own[polygon(piece.outer[:, 1] - 0.5, piece.outer[:, 0] - 0.5, shape)] = True
        for hole in piece.holes:
            own[polygon(hole[:, 1] - 0.5, hole[:, 0] - 0.5, shape)] = False
        mask |= own
    return mask


def iou(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / (a | b).sum())


def test_a_known_mask_lies_where_qupath_counts_from() -> None:
    labels = np.zeros((8, 10), np.uint8)
    labels[3:5, 5:7] = 4  # rows 3 and 4, columns 5 and 6: pixels reach from 3 to 5 and from 5 to 7
    (outline,) = cell_outlines(labels)
    assert outline.label == 4
    (piece,) = outline.pieces
    assert piece.outer.min(axis=0).tolist() == [5, 3] and piece.outer.max(axis=0).tolist() == [7, 5]
    assert piece.outer[0].tolist() == piece.outer[-1].tolist()
    assert {tuple(point) for point in piece.outer.tolist()} == {
        (5.5, 3), (6.5, 3), (7, 3.5), (7, 4.5), (6.5, 5), (5.5, 5), (5, 4.5), (5, 3.5),
    }  # fmt: skip
    assert signed_area(piece.outer) == 3.5


def test_every_shape_is_found_again() -> None:
    labels = awkward_labels()
    outlines = {outline.label: outline for outline in cell_outlines(labels)}
    assert sorted(outlines) == [n for n in np.unique(labels).tolist() if n]
    covered = np.zeros(labels.shape, int)
    for number, outline in outlines.items():
        mask = rasterised(outline, labels.shape)
        assert iou(mask, labels == number) == 1.0, number
        covered += mask
    assert covered.max() == 1
    assert [len(piece.holes) for piece in outlines[7].pieces] == [1]
    assert len(outlines[11].pieces) == 2 and len(outlines[8].pieces) == 1
    areas = [signed_area(piece.outer) for piece in outlines[11].pieces]
    assert areas[0] > areas[1] > 0


def test_another_rasteriser_agrees() -> None:
    """Drawn eight times larger by Pillow, whose polygons know nothing of pixel centres, the overlap is still above 0.95."""
    labels, zoom = awkward_labels(), 8
    for outline in cell_outlines(labels):
        true = labels == outline.label
        if true.sum() < 80:  # of a single pixel, half is corner
            continue
        canvas = Image.new("1", (labels.shape[1] * zoom, labels.shape[0] * zoom))
        draw = ImageDraw.Draw(canvas)
        for piece in outline.pieces:
            draw.polygon([(x * zoom, y * zoom) for x, y in piece.outer.tolist()], fill=1)
            for hole in piece.holes:
                draw.polygon([(x * zoom, y * zoom) for x, y in hole.tolist()], fill=0)
        assert iou(np.asarray(canvas), np.kron(true, np.ones((zoom, zoom), bool))) > 0.95, outline.label


@pytest.mark.parametrize("tile_px", [16, 37, 64, 4096])
def test_tiles_change_nothing(tile_px: int, tmp_path: Path) -> None:
    labels = awkward_labels()
    stored = zarr.create_array(str(tmp_path / "l.zarr"), data=labels, chunks=(50, 60))
    whole = {o.label: [p.outer.tolist() for p in o.pieces] for o in cell_outlines(labels)}
    steps: list[tuple[int, int]] = []
    watch = Watch(lambda done, total: steps.append((done, total)))
    tiled = {
        o.label: [p.outer.tolist() for p in o.pieces] for o in cell_outlines(stored, watch, tile_px=tile_px)
    }
    assert tiled == whole
    assert steps == sorted(steps) and steps[-1][0] == steps[-1][1]


def test_boxes_agree_with_a_slow_reference() -> None:
    labels = awkward_labels()
    for number, y0, y1, x0, x1 in cell_boxes(labels, tile_px=32).tolist():
        rows, columns = np.nonzero(labels == number)
        assert (y0, y1, x0, x1) == (rows.min(), rows.max() + 1, columns.min(), columns.max() + 1)


def test_random_blobs_come_back(seed: int = 1) -> None:
    random = np.random.default_rng(seed)
    for _ in range(60):
        mask = random.random((9, 12)) < random.uniform(0.2, 0.9)
        if mask.any():
            outline = Outline(1, mask_pieces(mask))
            np.testing.assert_array_equal(rasterised(outline, mask.shape), mask)


def test_nothing_to_outline_and_a_stop() -> None:
    assert list(cell_outlines(np.zeros((40, 50), np.uint32))) == []
    with pytest.raises(Interrupted):
        list(cell_outlines(awkward_labels(), Watch(stop=lambda: True)))


def test_real_cells_come_back(data_dir: Path) -> None:
    labels = tifffile.imread(data_dir / "codex_lymphoid" / "R001_X003_Y004_expert1.tif")[:400, :400]
    worst = 1.0
    for outline in cell_outlines(labels):
        found = np.concatenate([piece.outer for piece in outline.pieces])
        x0, y0 = np.maximum(found.min(axis=0).astype(int) - 1, 0)
        x1, y1 = found.max(axis=0).astype(int) + 2
        part = labels[y0:y1, x0:x1] == outline.label
        moved = Outline(1, mask_pieces(part))
        worst = min(worst, iou(rasterised(moved, part.shape), part))
        assert found[:, 0].min() == np.nonzero(part.any(axis=0))[0][0] + x0
    assert worst > 0.95
