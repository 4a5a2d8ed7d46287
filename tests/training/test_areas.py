"""Areas outlined by hand: parted by place, read from their slide, and learned from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from napari_dama.errors import SettingsError, SlideError, StoreError
from napari_dama.models.build import brain_card
from napari_dama.slides.intensity import normalise, slide_stats
from napari_dama.slides.region import Region
from napari_dama.slides.slide import open_slide
from napari_dama.training.areas import Areas, part_area
from napari_dama.training.finetune import finetune
from napari_dama.training.settings import FinetuneSettings, checked
from predict.conftest import cells_tiff as cells_tiff


def dots(height: int, width: int, places: list[tuple[int, int]]) -> np.ndarray[Any, Any]:
    labels = np.zeros((height, width), np.int32)
    for number, (y, x) in enumerate(places, start=1):
        labels[y - 2 : y + 3, x - 2 : x + 3] = number
    return labels


@pytest.mark.parametrize("seed", range(6))
def test_parts_hold_out_a_share_of_the_cells_and_no_pixel_twice(seed: int) -> None:
    rng = np.random.default_rng(seed)
    height, width = (int(n) for n in rng.integers(150, 400, 2))
    places = [(int(rng.integers(3, height - 3)), int(rng.integers(3, width - 3))) for _ in range(60)]
    labels = dots(height, width, places)
    parts = part_area(labels, 0.25, 40)
    assert parts.held is not None
    seen = np.zeros((height, width), int)
    seen[parts.learned] += 1
    seen[parts.held] += 1
    assert (seen == 1).all()
    held = labels[parts.held]
    assert min(held.shape) >= 40 and min(labels[parts.learned].shape) >= 40
    middles = [np.argwhere(labels == n).mean(axis=0) for n in np.unique(labels)[1:]]
    rows, columns = parts.held
    inside = sum(rows.start <= y < rows.stop and columns.start <= x < columns.stop for y, x in middles)
    assert abs(inside / len(middles) - 0.25) < 0.1
    assert labels.shape[0] >= labels.shape[1] or rows == slice(0, height)  # the longer side is cut


def test_small_areas_are_not_parted_or_refused() -> None:
    assert part_area(np.zeros((79, 60), np.int32), 0.25, 40).held is None
    assert part_area(np.zeros((80, 40), np.int32), 0.25, 40).held == (slice(40, 80), slice(0, 40))
    with pytest.raises(StoreError, match="39 x 200 px is too small"):
        part_area(np.zeros((39, 200), np.int32), 0.25, 40)


def laid_down(folder: Path, slide: Path, region: Region, *, mask: bool = False) -> FinetuneSettings:
    """A job with labels of drawn cells in a region: a grid as in `draw_cells`."""
    from napari_dama.cells.given import open_labels

    labels = np.zeros((700, 900), np.int32)
    for number, (y, x) in enumerate((y, x) for y in range(15, 700, 30) for x in range(15, 900, 30)):
        labels[y - 6 : y + 7, x - 6 : x + 7] = number + 1
    made = folder / "annotations"
    made.mkdir(parents=True)
    tifffile.imwrite(made / "area_1.tif", labels[region.slices], compression="zlib")
    assert open_labels(made / "area_1.tif").shape == region.shape
    area: dict[str, Any] = {"slide": slide, "labels": "annotations/area_1.tif", "region": str(region)}
    if mask:
        there = np.zeros(region.shape, np.uint8)
        there[:, : region.width // 2] = 1
        tifffile.imwrite(made / "mask.tif", there)
        area["mask"] = "annotations/mask.tif"
    raw = {"task": "segments", "out": folder, "areas": {"areas": [area]}, "device": "cpu", "threads": 1}
    raw |= {"max_steps": 2, "batch_size": 1, "tile_px": 128, "log_every": 1, "validation_share": 0.25}
    return checked(FinetuneSettings, raw, where="test")


def test_fields_are_the_slides_own_pixels_with_the_slides_statistics(
    tmp_path: Path, cells_tiff: Path
) -> None:
    from napari_dama.training.area_fields import area_fields

    card = brain_card("x")
    card.pixel_um = 0.325  # as the slide: nothing is resampled
    region = Region(100, 400, 50, 700)
    settings = laid_down(tmp_path / "job", cells_tiff, region)
    assert settings.areas is not None and settings.data == [tmp_path / "job" / "annotations"]
    (learned,), (held,) = area_fields(settings.areas, settings.out, card, 0.25)
    with open_slide(cells_tiff) as slide:
        whole = normalise(slide.read(region), slide_stats(slide))
    first, second = (learned, held) if learned.labels[0, 5:50].any() else (held, learned)
    both = np.concatenate([learned.pixels, held.pixels], axis=2)
    other = np.concatenate([held.pixels, learned.pixels], axis=2)
    assert any(np.allclose(made, whole, atol=2e-3) for made in (both, other))
    assert first.labels.any() and second.labels.any()
    assert learned.labels.shape[1] > 2 * held.labels.shape[1]


def test_what_nobody_annotated_is_dark(tmp_path: Path, cells_tiff: Path) -> None:
    from napari_dama.training.area_fields import area_fields

    card = brain_card("x")
    card.pixel_um = 0.325
    settings = laid_down(tmp_path / "job", cells_tiff, Region(0, 600, 0, 400), mask=True)
    assert settings.areas is not None
    for field in (side[0] for side in area_fields(settings.areas, settings.out, card, 0.25)):
        assert not field.pixels[:, :, 200:].any() and not field.labels[:, 200:].any()
        assert field.pixels[:, :, :200].any() and field.labels[:, :200].any()


def test_what_does_not_fit_is_said(tmp_path: Path, cells_tiff: Path) -> None:
    from napari_dama.training.area_fields import area_fields

    card = brain_card("x")
    for name, region, error, words in (
        ("far", Region(600, 900, 0, 300), SlideError, "outside of its slide"),
        ("small", Region(0, 150, 0, 150), StoreError, "too small to hold a part out"),
    ):
        settings = laid_down(tmp_path / name, cells_tiff, Region(0, region.height, 0, region.width))
        assert settings.areas is not None
        settings.areas.areas[0].region = str(region)
        with pytest.raises(error, match=words):
            area_fields(settings.areas, settings.out, card, 0.25)
    with pytest.raises(SettingsError, match="areas are for outlines"):
        raw = settings.model_dump() | {"task": "types"}
        checked(FinetuneSettings, raw, where="test")
    with pytest.raises(SettingsError, match="region"):
        checked(Areas, {"areas": [{"slide": "a", "labels": "b", "region": "all"}]}, where="test")  # type: ignore[type-var]


def test_outlines_are_learned_from_an_area_and_the_job_can_be_moved(
    tmp_path: Path, cells_tiff: Path, one_thread: None, small_networks: None
) -> None:
    settings = laid_down(tmp_path / "job", cells_tiff, Region(0, 330, 0, 700))
    settings.to_file(tmp_path / "job.yaml")
    (tmp_path / "job").rename(tmp_path / "moved")
    moved = FinetuneSettings.from_file(tmp_path / "job.yaml").model_copy(update={"out": tmp_path / "moved"})
    metrics = finetune(moved)
    assert 0 <= metrics["f1_50"] <= 1 and (tmp_path / "moved" / "model" / "card.json").is_file()
    events = (tmp_path / "moved" / "events.jsonl").read_text()
    assert "outlined cells to train on" in events and "held out by place" in events
