"""From the user's wishes to a run's settings, without Qt."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from napari_dama.errors import OutputError, SettingsError
from napari_dama.gui.annotations import Annotation
from napari_dama.gui.state import TrainState
from napari_dama.gui.train_plan import TrainPlan, begin, resolve_train, slide_files
from napari_dama.training.settings import FinetuneSettings, PretrainSettings


def touched(folder: Path, *names: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).touch()
    return folder


def test_open_slides_become_sources_of_the_job(tmp_path: Path) -> None:
    (tmp_path / "dama_pretrain").mkdir()
    state = TrainState(epochs=3, max_steps=7)
    settings = resolve_train(state, ["/s/a.ome.tif"], {"DAPI": "nucleus"}, 0.5, tmp_path).settings
    assert isinstance(settings, PretrainSettings)
    assert settings.out == tmp_path / "dama_pretrain_2"
    assert settings.crops == settings.out / "crops"
    assert settings.sources is not None
    (slide,) = settings.sources.slides
    assert (slide.path, slide.pixel_um, slide.cells) == (Path("/s/a.ome.tif"), 0.5, None)
    assert settings.sources.chosen == {"DAPI": "nucleus"}
    assert (settings.epochs, settings.max_steps, settings.validate_every) == (3, 7, 1)


def test_files_and_folders_of_slides_and_stores(tmp_path: Path) -> None:
    slides = touched(tmp_path / "slides", "a.ome.tif", "a_cells.tif", "b.TIF", "notes.txt")
    store = touched(tmp_path / "store", "store.json", "crops.npy")
    assert [file.name for file in slide_files(slides)] == ["a.ome.tif", "b.TIF"]
    assert slide_files(store) == [] and slide_files(tmp_path / "gone") == []

    both = resolve_train(TrainState(data=f"{slides}; /x/c.tif", init="old"), [], {}, None, tmp_path).settings
    assert both.sources is not None
    assert [slide.path.name for slide in both.sources.slides] == ["a.ome.tif", "b.TIF", "c.tif"]
    assert both.sources.model == "old"

    given = resolve_train(TrainState(data=str(store)), ["/s/a.tif"], {}, None, tmp_path).settings
    assert isinstance(given, PretrainSettings)
    assert given.sources is None and given.crops == store
    with pytest.raises(SettingsError, match="store is no slide"):
        resolve_train(TrainState(data=f"{slides};{store}"), [], {}, None, tmp_path)


def test_a_layer_with_classes_is_learned_from(tmp_path: Path) -> None:
    layer = Annotation("mine", "points", "class", {"a": 3, "b": 4}, "/s/a.ome.tif")
    state = TrainState(kind="types", annotation="mine")
    plan = resolve_train(state, ["/s/a.ome.tif"], {}, None, tmp_path, [layer])
    settings = plan.settings
    assert plan.annotation == layer
    assert isinstance(settings, FinetuneSettings)
    assert settings.sources is not None and settings.data == [settings.out / "crops"]
    assert settings.sources.slides[0].cells == settings.out / "annotations" / "cells.csv"
    with pytest.raises(SettingsError, match="not there any more"):
        resolve_train(state, [], {}, None, tmp_path, [])
    one = Annotation("mine", "points", "class", {"a": 3}, "/s/a.ome.tif")
    with pytest.raises(SettingsError, match="two classes"):
        resolve_train(state, [], {}, None, tmp_path, [one])


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="types"):
        resolve_train(TrainState(kind="types"), [], {}, None, tmp_path)
    with pytest.raises(SettingsError, match="outlined"):
        resolve_train(TrainState(kind="segments"), [], {}, None, tmp_path)
    with pytest.raises(SettingsError, match="Open a slide"):
        resolve_train(TrainState(), [], {}, None, tmp_path)


def test_a_start_that_fails_leaves_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = resolve_train(TrainState(), ["/s/a.tif"], {}, None, tmp_path).settings

    def refuse(settings: object) -> None:
        raise OutputError("no")

    monkeypatch.setattr("napari_dama.jobs.process.start", refuse)
    with pytest.raises(OutputError, match="no"):
        begin(TrainPlan(settings), pd.DataFrame({"label": [1], "y": [1], "x": [1], "type": ["a"]}))
    assert not settings.out.exists()
