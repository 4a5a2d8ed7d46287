from __future__ import annotations

import errno
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from napari_dama.errors import Interrupted, OutputError, PanelError, SettingsError
from napari_dama.predict import analyse as analyse_module
from napari_dama.predict.analyse import analyse, classify, segment
from napari_dama.predict.progress import Progress
from napari_dama.predict.record import LABELS, RUN_FILE, TABLE, TILES
from napari_dama.predict.result import ResultFolder
from napari_dama.slides.region import Region
from stand_in import NucleusModel

MARKERS = ["DAPI", "Histones", "NeuN", "S100", "Olig2", "Iba1", "RECA1"]
SMALL = 256


@pytest.fixture(scope="module")
def done(cells_tiff: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished result; do not change it."""
    out = tmp_path_factory.mktemp("results") / "done"
    analyse(cells_tiff, out, model=NucleusModel(), device="cpu", tile_px=SMALL)  # type: ignore[arg-type]
    return out


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def f1(one: np.ndarray[Any, Any], two: np.ndarray[Any, Any]) -> float:
    """F1 at IoU 0.5 of two label images, by counting pairs of pixels."""
    pairs, counts = np.unique(np.stack([one.ravel(), two.ravel()]), axis=1, return_counts=True)
    size_1, size_2 = np.bincount(one.ravel()), np.bincount(two.ravel())
    hits = sum(
        1
        for (a, b), n in zip(pairs.T, counts, strict=True)
        if a and b and n > 0.5 * (size_1[a] + size_2[b] - n)
    )
    return 2 * hits / ((size_1[1:] > 0).sum() + (size_2[1:] > 0).sum())


def stop_after(tiles: int) -> tuple[Any, Any]:
    """A progress and a stop callback that end a run after so many tiles."""
    seen = [0]

    def progress(now: Progress) -> None:
        if now.stage == "tiles":
            seen[0] = now.done

    return progress, lambda: seen[0] >= tiles


def test_the_result_holds_what_is_promised(done: Path, cells_tiff: Path) -> None:
    result = ResultFolder.open(done)
    cells = result.cells()
    labels = result.labels.compute()
    types = ("neuron", "astrocyte", "oligodendrocyte", "microglia", "endothelial")

    assert labels.dtype == np.uint32 and labels.shape == (700, 900)
    assert list(cells.columns) == [
        *("label", "y", "x", "y_um", "x_um", "area_um2", "score", "type"),
        *(f"p_{name}" for name in types),
        *(f"mean_{marker}" for marker in MARKERS),
    ]
    assert 600 < len(cells) < 750
    assert cells["label"].is_unique
    assert set(np.unique(labels)) - {0} == set(cells["label"])
    np.testing.assert_allclose(cells["y_um"], cells["y"] * 0.325, atol=0.01)
    np.testing.assert_allclose(cells.filter(like="p_").sum(axis=1), 1, atol=1e-3)
    assert set(cells["type"]) <= set(types)
    pd.testing.assert_frame_equal(pd.read_csv(done / TABLE), cells, check_dtype=False)
    row = cells.iloc[100]
    inside = labels == row["label"]
    assert np.argwhere(inside).mean(axis=0) == pytest.approx([row["y"], row["x"]], abs=0.01)
    assert inside.sum() * 0.325**2 == pytest.approx(row["area_um2"], abs=0.01)
    import tifffile

    assert tifffile.imread(cells_tiff)[0][inside].mean() == pytest.approx(row["mean_DAPI"], rel=1e-5)
    run = result.run
    assert run["state"] == "done" and run["cells"] == len(cells)
    assert run["peak_memory_bytes"] > 1e6 and run["megapixels"] == pytest.approx(0.63)
    assert run["megapixels_per_second"] > 0 and run["device"] == "cpu" and run["versions"]["napari-dama"]


def test_types_follow_the_marker_in_the_middle_of_the_crop(done: Path) -> None:
    cells = ResultFolder.open(done).cells()
    means = cells[[f"mean_{marker}" for marker in MARKERS[2:]]].to_numpy()
    columns = [c for c in cells.columns if c.startswith("p_")]

    assert np.mean(cells[columns].to_numpy().argmax(axis=1) == means.argmax(axis=1)) > 0.98


@pytest.mark.parametrize("tile_px", [384, 4096])
def test_tiles_leave_no_seams(
    done: Path, cells_tiff: Path, tmp_path: Path, tile_px: int, nucleus_model: Any
) -> None:
    other = analyse(cells_tiff, tmp_path / "out", model=nucleus_model, tile_px=tile_px)
    one = ResultFolder.open(done)

    assert f1(one.labels.compute(), other.labels.compute()) > 0.98
    assert abs(len(one.cells()) - len(other.cells())) <= 2


def test_labels_are_a_multiscale_image_for_other_readers(
    cells_tiff: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nucleus_model: Any
) -> None:
    from ome_zarr.io import parse_url
    from ome_zarr.reader import Reader

    from napari_dama.predict import labels as labels_module

    monkeypatch.setattr(labels_module, "CHUNK", 256)
    out = tmp_path / "out"
    analyse(cells_tiff, out, model=nucleus_model, types=False)
    location = parse_url(str(out / LABELS))
    assert location is not None
    (node,) = list(Reader(location)())[:1]

    levels = [np.asarray(level) for level in node.data]
    assert [level.shape for level in levels] == [(700, 900), (350, 450), (175, 225)]
    for factor, level in zip((1, 2, 4), levels, strict=True):
        assert (level == levels[0][::factor, ::factor]).all()
    scales = [t[0]["scale"] for t in node.metadata["coordinateTransformations"]]
    assert scales == [[0.325, 0.325], [0.65, 0.65], [1.3, 1.3]]
    assert [axis["unit"] for axis in node.metadata["axes"]] == ["micrometer"] * 2


def test_a_region_gives_its_cells_in_the_slides_coordinates(
    done: Path, cells_tiff: Path, tmp_path: Path, nucleus_model: Any
) -> None:
    region = Region(200, 500, 333, 777)
    part = analyse(cells_tiff, tmp_path / "out", model=nucleus_model, region=region, tile_px=SMALL)
    whole = ResultFolder.open(done)

    def inside(cells: pd.DataFrame, margin: int) -> pd.DataFrame:
        y, x = cells["y"], cells["x"]
        return cells[
            (y > region.y0 + margin)
            & (y < region.y1 - margin)
            & (x > region.x0 + margin)
            & (x < region.x1 - margin)
        ]

    cells = part.cells()  # pixel centres lie half a pixel into the pixel, borders between pixels
    assert cells["y"].between(region.y0 - 0.5, region.y1 - 0.5).all()
    assert cells["x"].between(region.x0 - 0.5, region.x1 - 0.5).all()
    assert len(inside(part.cells(), 6)) == len(inside(whole.cells(), 6))
    assert part.labels.shape == (700, 900)


def test_an_interrupted_run_goes_on_where_it_was(
    done: Path, cells_tiff: Path, tmp_path: Path, nucleus_model: Any
) -> None:
    out = tmp_path / "out"
    progress, stop = stop_after(3)
    with pytest.raises(Interrupted, match="3 of 20 tiles"):
        analyse(cells_tiff, out, model=nucleus_model, tile_px=SMALL, progress=progress, stop=stop)
    halfway = ResultFolder.open(out)
    first = halfway.cells()
    assert halfway.state == "interrupted" and len(first)
    assert set(np.unique(halfway.labels.compute())) - {0} == set(first["label"])
    calls = nucleus_model.calls

    result = analyse(cells_tiff, out, model=nucleus_model, tile_px=SMALL, resume=True)

    assert nucleus_model.calls - calls == 20 - 3
    assert result.state == "done"
    cells = result.cells()
    assert cells["label"].is_unique
    assert set(np.unique(result.labels.compute())) - {0} == set(cells["label"])
    pd.testing.assert_frame_equal(cells, ResultFolder.open(done).cells())
    again = analyse(cells_tiff, out, model=nucleus_model, tile_px=SMALL, resume=True)
    assert nucleus_model.calls - calls == 20 - 3 and len(again.cells()) == len(cells)


def test_half_a_tile_is_undone_after_a_crash(
    done: Path, cells_tiff: Path, tmp_path: Path, nucleus_model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Labels and rows may be written, and the process killed before the tile counts as finished."""
    out = tmp_path / "out"
    progress, stop = stop_after(5)
    with pytest.raises(Interrupted):
        analyse(cells_tiff, out, model=nucleus_model, tile_px=SMALL, progress=progress, stop=stop)
    lines = (out / TILES).read_text(encoding="utf-8").splitlines()
    (out / TILES).write_text("\n".join(lines[:4]) + "\n" + lines[4][:9], encoding="utf-8")
    record = json.loads((out / RUN_FILE).read_text(encoding="utf-8"))
    (out / RUN_FILE).write_text(json.dumps({**record, "state": "running"}), encoding="utf-8")

    result = analyse(cells_tiff, out, model=nucleus_model, tile_px=SMALL, resume=True)

    pd.testing.assert_frame_equal(result.cells(), ResultFolder.open(done).cells())
    assert (result.labels.compute() == ResultFolder.open(done).labels.compute()).all()


@pytest.mark.parametrize("where", ["segment", "write", "rows"])
def test_ctrl_c_anywhere_keeps_finished_tiles(
    cells_tiff: Path, tmp_path: Path, nucleus_model: Any, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    from napari_dama.predict.writer import ResultWriter

    calls = [0]
    owner, name = {
        "segment": (nucleus_model, "segment_maps"),
        "write": (ResultWriter, "write"),
        "rows": (ResultWriter, "finish_tile"),
    }[where]
    plain = getattr(owner, name)

    def interrupted(*args: Any, **options: Any) -> Any:
        calls[0] += 1
        if where == "write" and calls[0] == 4:
            plain(*args, **options)
        if calls[0] == 4:
            raise KeyboardInterrupt
        return plain(*args, **options)

    monkeypatch.setattr(owner, name, interrupted)
    with pytest.raises(Interrupted):
        analyse(cells_tiff, tmp_path / "out", model=nucleus_model, tile_px=SMALL)
    result = ResultFolder.open(tmp_path / "out")

    assert result.state == "interrupted" and result.run["tiles_done"] == 3
    assert set(np.unique(result.labels.compute())) - {0} == set(result.cells()["label"])


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"pixel_um": 0.5}, "pixel_um"),
        ({"types": False}, "types"),
        ({"chosen": {"NeuN": ""}}, "map"),
        ({"region": Region(0, 300, 0, 300)}, "region"),
        ({"tile_px": 512}, "tile_px"),
    ],
)
def test_other_settings_do_not_continue_a_result(
    cells_tiff: Path, tmp_path: Path, nucleus_model: Any, changed: dict[str, Any], named: str
) -> None:
    progress, stop = stop_after(1)
    options: dict[str, Any] = {"model": nucleus_model, "tile_px": SMALL}
    with pytest.raises(Interrupted):
        analyse(cells_tiff, tmp_path / "out", progress=progress, stop=stop, **options)
    before = files_of(tmp_path / "out")

    with pytest.raises(SettingsError, match=f"other settings: {named} was"):
        analyse(cells_tiff, tmp_path / "out", resume=True, **{**options, **changed})

    assert files_of(tmp_path / "out") == before


def test_an_old_result_is_replaced_only_when_asked(
    done: Path, cells_tiff: Path, tmp_path: Path, nucleus_model: Any
) -> None:
    out = tmp_path / "out"
    shutil.copytree(done, out)
    (out / "my notes.txt").write_text("keep", encoding="utf-8")
    before = files_of(out)

    with pytest.raises(OutputError, match="--overwrite replaces it"):
        analyse(cells_tiff, out, model=nucleus_model)
    assert files_of(out) == before
    result = analyse(cells_tiff, out, model=nucleus_model, types=False, overwrite=True)

    assert "type" not in result.cells() and not result.run["types"]
    assert (out / "my notes.txt").read_text(encoding="utf-8") == "keep"


def test_a_folder_of_the_users_is_never_touched(cells_tiff: Path, tmp_path: Path, nucleus_model: Any) -> None:
    (tmp_path / "thesis.txt").write_text("years of work", encoding="utf-8")
    for options in ({}, {"overwrite": True}, {"resume": True}):
        with pytest.raises(OutputError):
            analyse(cells_tiff, tmp_path, model=nucleus_model, **options)  # type: ignore[arg-type]
    with pytest.raises(OutputError, match="is a file"):
        analyse(cells_tiff, tmp_path / "thesis.txt", model=nucleus_model, overwrite=True)

    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_full_disk_keeps_finished_tiles(
    cells_tiff: Path, tmp_path: Path, nucleus_model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from napari_dama.predict import writer

    plain, calls = writer.write_rows, [0]

    def full(*args: Any, **options: Any) -> int:
        calls[0] += 1
        if calls[0] > 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        return plain(*args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(writer, "write_rows", full)
        with pytest.raises(OutputError, match="is full; finished tiles are kept"):
            analyse(cells_tiff, tmp_path / "out", model=nucleus_model, tile_px=SMALL)
    result = ResultFolder.open(tmp_path / "out")
    assert result.state == "failed" and result.run["tiles_done"] == 2 and len(result.cells())

    assert (
        analyse(cells_tiff, tmp_path / "out", model=nucleus_model, tile_px=SMALL, resume=True).state == "done"
    )


def test_a_disk_that_is_too_full_is_refused_before_work(
    cells_tiff: Path, tmp_path: Path, nucleus_model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(analyse_module, "_space_needed", lambda plan: 10**18)

    with pytest.raises(OutputError, match="MB free"):
        analyse(cells_tiff, tmp_path / "out", model=nucleus_model)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((7, 200, 300), np.uint16),
        np.full((7, 130, 130), 213, np.uint8),
        np.full((7, 150, 150), np.nan, np.float32),
        np.full((7, 150, 150), np.inf, np.float32),
    ],
    ids=["black", "constant", "nan", "infinite"],
)
def test_nothing_to_see_gives_an_empty_table(
    image: np.ndarray[Any, Any], tmp_path: Path, nucleus_model: Any
) -> None:
    from napari_dama import open_slide

    slide = open_slide(image, markers=MARKERS, pixel_um=0.325)
    result = analyse(slide, tmp_path / "out", model=nucleus_model)

    assert len(result.cells()) == 0 and "p_neuron" in result.cells()
    assert (tmp_path / "out" / TABLE).read_text(encoding="utf-8").count("\n") == 1
    assert result.labels.compute().max() == 0
    assert "no cells were found" in result.run["notes"]
    assert nucleus_model.calls == 0, "glass was sent through the network"


@pytest.mark.parametrize("shape", [(60, 60), (1, 1), (100, 700), (30, 500)])
@pytest.mark.parametrize("pixel_um", [0.325, 0.06, 1.3])
def test_images_smaller_than_a_crop_work(
    shape: tuple[int, int], pixel_um: float, tmp_path: Path, nucleus_model: Any
) -> None:
    from conftest import draw_cells
    from napari_dama import open_slide

    slide = open_slide(draw_cells(*shape), markers=MARKERS, pixel_um=pixel_um)
    result = analyse(slide, tmp_path / "out", model=nucleus_model)

    assert result.state == "done" and result.labels.shape == shape
    if pixel_um == 0.325 and min(shape) >= 30:
        assert len(result.cells()) >= (shape[0] // 30) * (shape[1] // 30)


@pytest.mark.parametrize("pixel_um", [0.06, 0.11, 0.16])
def test_fine_slides_give_the_same_cells(pixel_um: float, tmp_path: Path, nucleus_model: Any) -> None:
    """Below half of the model's pixels cells are drawn at its scale; what is found is the same."""
    from conftest import draw_cells
    from napari_dama import open_slide

    factor = round(0.325 / pixel_um)
    coarse = draw_cells(150, 150)
    fine = coarse.repeat(factor, axis=1).repeat(factor, axis=2)
    one = segment(coarse, markers=MARKERS, pixel_um=0.325, model=nucleus_model)
    result = analyse(
        open_slide(fine, markers=MARKERS, pixel_um=0.325 / factor), tmp_path / "out", model=nucleus_model
    )

    middle = result.labels.compute()[factor // 2 :: factor, factor // 2 :: factor]
    assert f1(one.astype(np.int64), middle.astype(np.int64)) > 0.95


def test_markers_decide_whether_types_are_named(tmp_path: Path, nucleus_model: Any) -> None:
    from conftest import draw_cells
    from napari_dama import open_slide

    image = draw_cells(130, 130)
    few = open_slide(image[:5], markers=["DAPI", "Histones", "NeuN", "CD3", "CD8"], pixel_um=0.325)
    result = analyse(few, tmp_path / "few", model=nucleus_model)
    assert not result.run["types"] and "the slide lacks S100, Olig2" in result.run["types_why"]
    assert not [c for c in result.cells().columns if c == "type" or c.startswith("p_")]

    enough = open_slide(image[:6], markers=MARKERS[:6], pixel_um=0.325)
    assert analyse(enough, tmp_path / "enough", model=nucleus_model).run["types"]
    none = open_slide(image[:2], markers=["CD3", "CD8"], pixel_um=0.325)
    with pytest.raises(PanelError, match="CD3"):
        analyse(none, tmp_path / "none", model=nucleus_model)
    assert not (tmp_path / "none").exists()


def test_a_slide_without_pixel_size_says_what_to_do(tmp_path: Path, nucleus_model: Any) -> None:
    image = np.zeros((1, 64, 64), np.uint8)

    with pytest.raises(SettingsError, match="--pixel-um"):
        analyse(image, tmp_path / "out", model=nucleus_model, chosen={"DAPI": "channel 1"})
    with pytest.raises(SettingsError):
        analyse(image, tmp_path / "out", model=nucleus_model, pixel_um=1e6)
    assert not (tmp_path / "out").exists()


def test_a_region_outside_is_refused(cells_tiff: Path, tmp_path: Path, nucleus_model: Any) -> None:
    with pytest.raises(SettingsError, match="outside the slide of 700 x 900"):
        analyse(cells_tiff, tmp_path / "out", model=nucleus_model, region=Region(800, 900, 0, 10))


def test_progress_counts_tiles_cells_and_time(cells_tiff: Path, tmp_path: Path, nucleus_model: Any) -> None:
    seen: list[Progress] = []
    analyse(cells_tiff, tmp_path / "out", model=nucleus_model, tile_px=SMALL, progress=seen.append)
    tiles = [now for now in seen if now.stage == "tiles"]

    assert [now.done for now in tiles] == list(range(21)) and tiles[-1].total == 20
    assert tiles[0].eta_s is None and tiles[8].eta_s is not None and tiles[8].rate > 0
    assert tiles[-1].cells > 600 and tiles[-1].megapixels == pytest.approx(0.63)


def test_arrays_give_what_files_give(done: Path, cells_tiff: Path, nucleus_model: Any) -> None:
    import tifffile

    image = tifffile.imread(cells_tiff)
    labels = segment(image, markers=MARKERS, pixel_um=0.325, model=nucleus_model, tile_px=SMALL)
    types = classify(image, labels, markers=MARKERS, pixel_um=0.325, model=nucleus_model)
    result = ResultFolder.open(done)

    assert (labels == result.labels.compute()).all()
    merged = result.cells().merge(types, on="label", suffixes=("", "_array"))
    assert len(merged) == len(types) == len(result.cells())
    assert (merged["type"] == merged["type_array"]).mean() > 0.99


def test_classify_refuses_labels_of_another_size(nucleus_model: Any) -> None:
    image = np.zeros((7, 64, 64), np.uint8)

    with pytest.raises(SettingsError, match=r"\(10, 10\)"):
        classify(image, np.ones((10, 10), int), markers=MARKERS, pixel_um=0.3, model=nucleus_model)


def test_opening_something_else_says_so(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="there is no folder"):
        ResultFolder.open(tmp_path / "missing")
    with pytest.raises(OutputError, match="is not a result"):
        ResultFolder.open(tmp_path)
    (tmp_path / RUN_FILE).write_text("{", encoding="utf-8")
    with pytest.raises(OutputError, match="cannot be read"):
        ResultFolder.open(tmp_path)


@pytest.mark.slow
def test_the_bundled_model_leaves_no_seams(tmp_path: Path) -> None:
    """Windows of the encoder lie on one grid, so tiles of 256 px and one tile agree; types with them."""
    from napari_dama import open_slide
    from napari_dama.models.shelf import DEFAULT_MODEL, list_models
    from napari_dama.simulate.tissue import simulate_tissue

    if DEFAULT_MODEL not in [card.name for card in list_models()]:
        pytest.skip("the bundled weights are not here")
    tissue = simulate_tissue(640, seed=21)
    slide = open_slide(tissue.image, markers=tissue.markers, pixel_um=tissue.pixel_um)
    small = analyse(slide, tmp_path / "small", tile_px=SMALL, device="cpu")
    large = analyse(slide, tmp_path / "large", tile_px=4096, device="cpu")

    one, two = (r.labels.compute().astype(np.int64) for r in (small, large))
    assert f1(one, two) > 0.98
    assert f1(one, tissue.labels.astype(np.int64)) > 0.6
    by_place = [
        r.cells().assign(
            place=lambda t: t["y"].round().astype(int).astype(str) + "," + t["x"].round().astype(str)
        )
        for r in (small, large)
    ]
    both = by_place[0].merge(by_place[1], on="place")
    assert len(both) > 0.9 * len(by_place[1])
    assert (both["type_x"] == both["type_y"]).mean() > 0.97
