from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from napari_dama.errors import ModelError, OutputError, SettingsError
from napari_dama.models.build import brain_card, new_model
from napari_dama.models.model import Model
from napari_dama.predict.explain import Explainer, Explanation, reconstruct
from napari_dama.slides.slide import open_slide


@pytest.fixture(scope="module")
def model() -> Model:
    return new_model(brain_card("untrained", tasks=("reconstruct",)))


@pytest.fixture(scope="module")
def made(cells_tiff: Path, model: Model) -> Explanation:
    return reconstruct(cells_tiff, at=(300, 400), model=model, seed=3)


def test_masks_obey_the_ratios(made: Explanation) -> None:
    assert made.hidden_random.shape == made.hidden_adaptive.shape == (8, 8)
    assert (~made.hidden_random).sum() == (~made.hidden_adaptive).sum() == 12
    assert made.overlap.sum() == 6
    assert made.input.shape == made.image_random.shape == made.image_adaptive.shape == (7, 128, 128)
    assert made.error_random.shape == (8, 8) and np.isfinite(made.error_adaptive).all()


def test_the_crop_lies_where_it_says(made: Explanation, cells_tiff: Path) -> None:
    import tifffile

    place = made.crop_region
    middle = place.y0 + 63.5 * place.step_px, place.x0 + 63.5 * place.step_px
    assert middle == pytest.approx((300, 400), abs=1)
    assert place.step_px == pytest.approx(32.5 / 128 / 0.325)
    dapi = tifffile.imread(cells_tiff)[0]
    peak = np.unravel_index(made.input[0, 40:90, 40:90].argmax(), (50, 50))
    y = place.y0 + (40 + peak[0]) * place.step_px
    x = place.x0 + (40 + peak[1]) * place.step_px
    around = dapi[int(y) - 20 : int(y) + 20, int(x) - 20 : int(x) + 20]
    assert dapi[round(y), round(x)] > 0.9 * around.max()


def test_the_last_crop_is_kept_for_the_next_question(
    cells_tiff: Path, model: Model, made: Explanation
) -> None:
    with open_slide(cells_tiff) as slide:
        explainer = Explainer(slide, model=model)
        crop, place = explainer.crop((300, 400))
        assert explainer.crop((300, 400))[0] is crop
        np.testing.assert_array_equal(crop, made.input)
        other, elsewhere = explainer.crop((300, 460))
        assert (other != crop).any() and elsewhere != place
        again, back = explainer.crop((300, 400))
        np.testing.assert_array_equal(again, crop)
        assert back == place
        with pytest.raises(SettingsError, match="outside"):
            explainer.crop((-5, 0))


def test_the_seed_decides(cells_tiff: Path, model: Model, made: Explanation) -> None:
    again = reconstruct(cells_tiff, at=(300, 400), model=model, seed=3)
    other = reconstruct(cells_tiff, at=(300, 400), model=model, seed=4)

    assert (again.hidden_adaptive == made.hidden_adaptive).all()
    assert (other.hidden_random != made.hidden_random).any()


def test_a_corner_is_mirrored(cells_tiff: Path, model: Model) -> None:
    corner = reconstruct(cells_tiff, at=(0, 899), model=model).input[0]

    np.testing.assert_allclose(corner[:63][::-1], corner[64:127], atol=0.35)
    assert np.corrcoef(corner[:63][::-1].ravel(), corner[65:128].ravel())[0, 1] > 0.9


def test_figure_and_stack_are_written(made: Explanation, tmp_path: Path) -> None:
    import tifffile
    from matplotlib.image import imread

    made.save(tmp_path / "crop.png")
    made.save(tmp_path / "crop.tif")

    assert imread(tmp_path / "crop.png").shape[0] > 1000
    with tifffile.TiffFile(tmp_path / "crop.tif") as file:
        assert file.is_ome and file.series[0].axes == "CYX" and file.series[0].shape == (25, 128, 128)
        text = file.ome_metadata or ""
        np.testing.assert_allclose(file.asarray()[:7], made.input)
    assert "DAPI input" in text and "RECA1 reconstruction, adaptive mask" in text and "PhysicalSizeX" in text


def test_what_cannot_be_done_is_said(
    cells_tiff: Path, model: Model, made: Explanation, tmp_path: Path
) -> None:
    with pytest.raises(SettingsError, match="outside the slide of 700 x 900"):
        reconstruct(cells_tiff, at=(700, 0), model=model)
    with pytest.raises(SettingsError, match="mask_ratio"):
        reconstruct(cells_tiff, at=(0, 0), model=model, mask_ratio=1.5)
    with pytest.raises((SettingsError, ModelError)):
        reconstruct(cells_tiff, at=(0, 0), model=model, mask_ratio=0.1, overlap_ratio=0.0)
    with pytest.raises(SettingsError, match="cannot do reconstruct"):
        reconstruct(cells_tiff, at=(0, 0), model=new_model(brain_card("x", tasks=("segments",))))
    with pytest.raises(SettingsError, match=r"\.png"):
        made.save(tmp_path / "crop.jpg")
    with pytest.raises(OutputError):
        made.save(tmp_path / "missing" / "crop.png")


def test_absent_markers_stay_dark(cells_tiff: Path, model: Model, tmp_path: Path) -> None:
    made = reconstruct(cells_tiff, at=(300, 300), model=model, chosen={"NeuN": ""})

    assert not made.present[2] and made.input[2].max() == 0 and made.image_random[2].max() == 0
    made.save(tmp_path / "crop.png")
