from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from napari_dama.errors import Interrupted, ModelError, OutputError, SettingsError
from napari_dama.models.build import brain_card, new_model
from napari_dama.models.model import Model
from napari_dama.predict.explain import Explainer
from napari_dama.predict.impute import complementary, impute_crops, impute_pixels, impute_region, snapped
from napari_dama.predict.impute_quality import PatchMeans, measure, patch_means
from napari_dama.predict.impute_slide import impute
from napari_dama.slides.region import Region
from napari_dama.slides.slide import open_slide

pytestmark = pytest.mark.usefixtures("one_thread")
PART = Region(200, 330, 300, 460)


@pytest.fixture(scope="module")
def model() -> Model:
    return new_model(brain_card("untrained", tasks=("reconstruct",)))


@pytest.mark.parametrize(("tokens", "sets"), [(64, 5), (64, 4), (16, 2), (9, 9)])
def test_each_patch_is_visible_once(tokens: int, sets: int) -> None:
    hidden = complementary(3, tokens, sets, seed=1)

    assert hidden.shape == (3, sets, tokens)
    shown = (~hidden).sum(dim=1)
    assert shown.max() == 1 and int(shown.sum()) == 3 * (tokens // sets) * sets
    assert len({int(n) for n in (~hidden).sum(dim=2).flatten()}) == 1
    assert (hidden[0] != hidden[1]).any() or sets == tokens
    assert (complementary(3, tokens, sets, seed=1) == hidden).all()


def test_the_marker_itself_is_never_looked_at(model: Model) -> None:
    crops = np.random.default_rng(0).random((2, 7, 128, 128), dtype=np.float32)
    other = crops.copy()
    other[:, 3] = np.random.default_rng(1).random((2, 128, 128))

    np.testing.assert_array_equal(impute_crops(model, crops, 3), impute_crops(model, other, 3))
    assert np.abs(impute_crops(model, crops, 3) - impute_crops(model, other, 2)).max() > 0


def test_predictions_are_averaged_over_the_sets_that_hide_a_patch(model: Model) -> None:
    """Written out set by set for one crop, patch by patch."""
    import torch

    from napari_dama.nets.encoder import patchify

    crop = np.random.default_rng(0).random((1, 7, 128, 128), dtype=np.float32)
    made = impute_crops(model, crop, 2, seed=4)[0]

    x = torch.from_numpy(crop.copy())
    x[:, 2] = 0
    patches = patchify(x, 16)[0].double()
    hidden = complementary(1, 64, 5, seed=4)[0]
    with torch.no_grad(), model._autocast():
        predictions = [model.parts["reconstruct"](x, each[None]).prediction[0].double() for each in hidden]
    for token in (0, 27, 63):
        seen = [p[token] for p, each in zip(predictions, hidden, strict=True) if each[token]]
        patch = torch.stack(seen).mean(0) * (patches[token].var() + 1e-6).sqrt() + patches[token].mean()
        y, x0 = 16 * (token // 8), 16 * (token % 8)
        expected = patch.reshape(16, 16, 7)[..., 2]
        np.testing.assert_allclose(made[y : y + 16, x0 : x0 + 16], expected, atol=2e-2)


def test_crops_are_put_together_where_they_belong(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    from napari_dama.predict import impute as module

    monkeypatch.setattr(module, "impute_crops", lambda model, crops, marker, **_: crops[:, 0] * 2)
    pixels = np.random.default_rng(0).random((7, 192, 320), dtype=np.float32)

    np.testing.assert_allclose(impute_pixels(model, pixels, 3), pixels[0] * 2, rtol=1e-6)
    with pytest.raises(Interrupted):
        impute_pixels(model, pixels, 3, stop=lambda: True)


def test_a_region_is_predicted_and_measured(model: Model, cells_tiff: Path) -> None:
    with open_slide(cells_tiff) as slide:
        explainer = Explainer(slide, model=model)
        made = impute_region(explainer, PART, "NeuN")
        assert made.true is not None and made.image.shape == made.true.shape and made.image.min() >= 0
        assert made.place.y0 <= PART.y0 and made.place.x0 <= PART.x0
        assert made.place.y0 + made.image.shape[0] * made.place.step_px >= PART.y1
        assert made.quality is not None and made.quality.network < 0.5  # random weights know nothing
        assert "regression on" in made.sentence()
        with pytest.raises(SettingsError, match="no marker 'CD8'"):
            impute_region(explainer, PART, "CD8")
        with pytest.raises(SettingsError, match="outside"):
            impute_region(explainer, Region(5000, 5100, 0, 100), "NeuN")
        without = Explainer(slide, model=model, chosen={"NeuN": ""})
        blind = impute_region(without, PART, "NeuN")
        assert blind.true is None and blind.quality is None and "Nothing here says" in blind.sentence()
        np.testing.assert_allclose(blind.image, made.image, atol=1e-5)  # the same: it was hidden before, too
        alone = Explainer(
            slide, model=model, chosen={name: "" for name in model.card.panel if name != "DAPI"}
        )
        with pytest.raises(SettingsError, match="no other marker"):
            impute_region(alone, PART, "DAPI")


def test_regions_are_snapped_outwards() -> None:
    assert snapped(Region(10, 20, 70, 300), 1.0, 64) == Region(0, 128, 64, 320)
    assert snapped(Region(100, 200, 0, 64), 2.0, 64) == Region(192, 448, 0, 128)


def slow_explained(features: np.ndarray[Any, Any], means: PatchMeans) -> float:
    """Explained variation by scikit-learn, half by half."""
    from sklearn.linear_model import LinearRegression

    wrong, base = 0.0, 0.0
    for half in (False, True):
        train, test = means.fold != half, means.fold == half
        fit = LinearRegression().fit(features[train], means.true[train])
        wrong += ((fit.predict(features[test]) - means.true[test]) ** 2).sum()
        base += ((means.true[train].mean() - means.true[test]) ** 2).sum()
    return float(1 - wrong / base)


def test_quality_is_that_of_scikit_learn() -> None:
    random = np.random.default_rng(0)
    others = random.normal(size=(400, 3))
    true = 0.5 * others[:, 1] + 0.4 * others[:, 2] + random.normal(size=400)
    imputed = true + random.normal(size=400)
    fold = np.arange(400) % 2 == 0
    means = PatchMeans(true, imputed, others, fold, ("A", "B", "C"))

    quality = measure(means)

    assert quality is not None and quality.best_marker == "B" and quality.patches == 400
    assert quality.network == pytest.approx(slow_explained(imputed[:, None], means))
    assert quality.best == pytest.approx(slow_explained(others[:, 1:2], means))
    assert quality.every == pytest.approx(slow_explained(others, means))
    assert quality.correlation == pytest.approx(np.corrcoef(imputed, true)[0, 1])
    assert "The network sees more" in quality.sentence("X")
    noise = measure(PatchMeans(true, random.normal(size=400), others, fold, ("A", "B", "C")))
    assert noise is not None and noise.network < 0.02 and "Do not use" in noise.sentence("X")
    assert measure(PatchMeans(np.ones(400), imputed, others, fold, ("A", "B", "C"))) is None


def test_patch_means_are_means() -> None:
    pixels = np.random.default_rng(0).random((3, 128, 192), dtype=np.float32)
    means = patch_means(pixels, pixels[0] * 2, 0, 16, ["A", "B", "C"], (True, False, True))

    assert means.names == ("C",) and means.others.shape == (96, 1)
    assert means.true[13] == pytest.approx(pixels[0, 16:32, 16:32].mean(), abs=1e-6)
    assert means.others[12, 0] == pytest.approx(pixels[2, 16:32, 0:16].mean(), abs=1e-6)
    np.testing.assert_allclose(means.imputed, 2 * means.true, rtol=1e-5)
    assert 0 < means.fold.sum() < 96


def test_a_slide_is_written_as_one_channel(model: Model, cells_tiff: Path, tmp_path: Path) -> None:
    file, seen = tmp_path / "neun.tif", []
    quality = impute(cells_tiff, file, marker="NeuN", model=model, region=PART, progress=seen.append)

    assert quality is not None and seen[-1].done == seen[-1].total
    with tifffile.TiffFile(file) as tif:
        assert tif.is_ome and tif.series[0].shape == PART.shape and tif.series[0].dtype == np.float32
        assert "NeuN predicted" in (tif.ome_metadata or "")
        image = tif.asarray()
    with open_slide(cells_tiff) as slide:
        explainer = Explainer(slide, model=model)
        made = impute_region(explainer, PART, "NeuN")
    low, high = explainer.stats.low[2], explainer.stats.high[2]
    y = (
        ((np.arange(*PART.slices[0].indices(900)[:2]) - made.place.y0) / made.place.step_px)
        .round()
        .astype(int)
    )
    x = (
        ((np.arange(*PART.slices[1].indices(900)[:2]) - made.place.x0) / made.place.step_px)
        .round()
        .astype(int)
    )
    near = low + (high - low) * made.image[np.ix_(y, x)]
    assert np.corrcoef(near.ravel(), image.ravel())[0, 1] > 0.5  # other masks, the same place

    before = file.read_bytes()
    with pytest.raises(OutputError, match="exists"):
        impute(cells_tiff, file, marker="NeuN", model=model)
    with pytest.raises(Interrupted):
        impute(cells_tiff, file, marker="NeuN", model=model, overwrite=True, stop=lambda: True)
    with pytest.raises(SettingsError, match=r"\.tif"):
        impute(cells_tiff, tmp_path / "x.png", marker="NeuN", model=model)
    with pytest.raises((ModelError, SettingsError)):
        impute(
            cells_tiff,
            tmp_path / "x.tif",
            marker="NeuN",
            model=new_model(brain_card("s", tasks=("segments",))),
        )
    assert file.read_bytes() == before and [p.name for p in tmp_path.iterdir()] == ["neun.tif"]
