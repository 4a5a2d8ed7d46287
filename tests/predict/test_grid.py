from __future__ import annotations

import numpy as np
import pytest

from napari_dama.errors import SettingsError
from napari_dama.predict.grid import ModelGrid, level_for
from napari_dama.predict.sampling import axis_matrix, nearest, resample
from napari_dama.slides.region import Region

MODEL_UM = 32.5 / 128


@pytest.mark.parametrize("shape", [(60, 60), (700, 900), (2048, 1111), (128, 5000)])
@pytest.mark.parametrize("slide_um", [0.1, 0.325, MODEL_UM, 0.65])
@pytest.mark.parametrize("tile_px", [256, 1024])
def test_cores_cover_the_slide_once_and_windows_are_shared(
    shape: tuple[int, int], slide_um: float, tile_px: int
) -> None:
    grid = ModelGrid(shape, slide_um, MODEL_UM)
    seen = np.zeros(shape, int)

    for work in grid.plan(Region.whole(shape), tile_px=tile_px, halo_px=128):
        seen[work.tile.core.slices] += 1
        core, outer, model = work.tile.core, work.tile.outer, work.model
        assert outer.y0 <= core.y0 and outer.y1 >= core.y1 and outer.x0 <= core.x0 and outer.x1 >= core.x1
        assert all(edge % 128 == 0 for edge in (model.y0, model.y1, model.x0, model.x1))
        assert model.y1 / grid.scale >= min(shape[0], outer.y1) - 1e-6
        assert outer.y1 <= shape[0] and outer.x1 <= shape[1]

    assert (seen == 1).all()


def test_a_region_is_covered_once_and_nothing_else() -> None:
    grid = ModelGrid((3000, 3000), 0.325, MODEL_UM)
    region = Region(333, 1900, 1000, 1001)
    seen = np.zeros((3000, 3000), int)

    for work in grid.plan(region, tile_px=512, halo_px=128):
        seen[work.tile.core.slices] += 1

    assert seen[region.slices].min() == seen[region.slices].max() == 1
    assert seen.sum() == region.height * region.width


def test_tiles_smaller_than_a_window_are_refused() -> None:
    with pytest.raises(SettingsError, match="at least 128, got 100"):
        ModelGrid((500, 500), 0.325, MODEL_UM).plan(Region.whole((500, 500)), tile_px=100, halo_px=0)


@pytest.mark.parametrize("scale", [1.28, 1.0, 0.8, 0.5, 0.26])
def test_a_tile_sees_what_the_whole_sees(scale: float) -> None:
    random = np.random.default_rng(0)
    image = random.random((1, 400, 10), dtype=np.float32)
    whole = resample(
        image,
        axis_matrix((0, int(400 * scale)), (0, 400), scale=scale, size=400),
        axis_matrix((0, 10), (0, 10), scale=1.0, size=10),
    )
    first, last = int(100 * scale), int(300 * scale)
    part = resample(
        image[:, 90:310],
        axis_matrix((first, last), (90, 310), scale=scale, size=400),
        axis_matrix((0, 10), (0, 10), scale=1.0, size=10),
    )

    np.testing.assert_allclose(part, whole[:, first:last], atol=1e-6)


@pytest.mark.parametrize("scale", [2.5, 1.28, 0.7, 0.3])
def test_resampling_keeps_constants_and_places(scale: float) -> None:
    size = 300
    count = int(size * scale)
    matrix = axis_matrix((0, count), (0, size), scale=scale, size=size)

    np.testing.assert_allclose(matrix @ np.ones(size, np.float32), 1, atol=1e-5)
    # a ramp stays a ramp: the value at a target's centre is the source's coordinate there
    got = matrix @ np.arange(size, dtype=np.float32)
    want = (np.arange(count) + 0.5) / scale - 0.5
    margin = 8
    np.testing.assert_allclose(got[margin:-margin], want[margin:-margin], atol=2e-3 if scale > 0.5 else 0.05)


def test_pixels_beyond_the_end_are_mirrored() -> None:
    matrix = axis_matrix((-3, 7), (0, 4), scale=1.0, size=4)

    assert (matrix @ np.arange(4, dtype=np.float32)).tolist() == [2, 1, 0, 0, 1, 2, 3, 3, 2, 1]


def test_one_pixel_is_enough_to_mirror() -> None:
    assert (axis_matrix((0, 128), (0, 1), scale=1.28, size=1) @ np.float32([7])).tolist() == [7] * 128


def test_nearest_takes_the_pixel_under_the_centre() -> None:
    assert nearest((0, 6), (0, 3), scale=2.0).tolist() == [0, 0, 1, 1, 2, 2]


class _Levels:
    shape = (1, 4000, 6000)

    def __init__(self, *levels: tuple[int, int]) -> None:
        self.levels = levels


@pytest.mark.parametrize(
    ("slide_um", "expected"), [(0.325, (0, 1.0)), (0.13, (0, 1.0)), (0.12, (1, 2.0)), (0.05, (2, 4.0))]
)
def test_a_coarse_level_is_used_when_it_is_still_finer_than_the_model(
    slide_um: float, expected: tuple[int, float]
) -> None:
    slide = _Levels((4000, 6000), (2000, 3000), (1000, 1500), (500, 750))

    assert level_for(slide, slide_um=slide_um, model_um=MODEL_UM) == expected  # type: ignore[arg-type]


def test_an_uneven_level_is_passed_over() -> None:
    slide = _Levels((4000, 6000), (1900, 3000), (1000, 1700))

    assert level_for(slide, slide_um=0.05, model_um=MODEL_UM) == (0, 1.0)  # type: ignore[arg-type]
