"""Runs that cut their own crops from slides before the first step."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
import tifffile
from tests.conftest import SimulatedSlide

from napari_dama.cells.store import CropStore
from napari_dama.errors import DamaError, Interrupted, SettingsError
from napari_dama.training.finetune import finetune
from napari_dama.training.pretrain import pretrain
from napari_dama.training.settings import FinetuneSettings, PretrainSettings, checked

QUICK = {
    "batch_size": 4,
    "max_steps": 2,
    "validate_every": 2,
    "log_every": 1,
    "device": "cpu",
    "validation_share": 0.4,
}


def pretraining(out: Path, *slides: Path) -> PretrainSettings:
    raw = {"out": out, "sources": {"slides": [{"path": path} for path in slides]}, "decoder_depth": 1}
    return PretrainSettings.model_validate({**QUICK, **raw, "last_blocks": 2, "previews": False})


def test_crops_are_cut_in_the_jobs_folder(simulated_slide: SimulatedSlide, tmp_path: Path) -> None:
    settings = pretraining(tmp_path / "job", simulated_slide.image)
    assert settings.crops == tmp_path / "job" / "crops"
    pretrain(settings)
    store = CropStore.open(settings.crops)
    assert len(store) > 20
    kinds = [
        json.loads(line)["kind"] for line in (tmp_path / "job" / "events.jsonl").read_text().splitlines()
    ]
    assert kinds.index("cropping") < kinds.index("cropped") < kinds.index("data")
    assert PretrainSettings.from_file(tmp_path / "job" / "job.yaml") == settings
    before = (settings.crops / "crops.npy").stat().st_mtime_ns
    pretrain(settings, resume=True)
    assert (settings.crops / "crops.npy").stat().st_mtime_ns == before


def test_stopping_while_cropping_leaves_a_run_to_resume(
    simulated_slide: SimulatedSlide, tmp_path: Path
) -> None:
    settings = pretraining(tmp_path / "job", simulated_slide.image)
    asked = iter([False, False, True])
    with pytest.raises(Interrupted):
        pretrain(settings, stop=lambda: next(asked, True))
    assert json.loads((tmp_path / "job" / "status.json").read_text())["state"] == "stopped"
    assert not settings.crops.exists()
    pretrain(settings, resume=True)
    assert (tmp_path / "job" / "model" / "card.json").is_file()


def test_a_slide_that_vanished_is_named(simulated_slide: SimulatedSlide, tmp_path: Path) -> None:
    gone = tmp_path / "gone.ome.tif"
    with pytest.raises(DamaError, match=r"gone\.ome\.tif"):
        pretrain(pretraining(tmp_path / "job", simulated_slide.image, gone))
    status = json.loads((tmp_path / "job" / "status.json").read_text())
    assert status["state"] == "failed" and "gone" in status["why"]
    with tifffile.TiffFile(simulated_slide.image) as file:
        pixels, about = file.asarray()[:, ::-1], file.ome_metadata
    tifffile.imwrite(gone, pixels, description=(about or "").encode(), photometric="minisblack")
    pretrain(pretraining(tmp_path / "job", simulated_slide.image, gone), resume=True)


def test_types_from_a_table_of_annotations(simulated_slide: SimulatedSlide, tmp_path: Path) -> None:
    table = pd.read_csv(simulated_slide.cells)
    given = tmp_path / "job" / "annotations" / "cells.csv"
    given.parent.mkdir(parents=True)
    some = table[table["type"].isin(table["type"].value_counts().index[:2])]
    some.to_csv(given, index=False)
    raw = {"task": "types", "out": tmp_path / "job", "drop_path": 0.0}
    sources = {"slides": [{"path": simulated_slide.image, "cells": given}]}
    settings = FinetuneSettings.model_validate({**QUICK, **raw, "sources": sources})
    finetune(settings)
    store = CropStore.open(settings.data[0])
    assert len(store) == len(some)
    assert set(store.types) == set(some["type"])


def test_outlines_take_no_sources(tmp_path: Path) -> None:
    raw = {"task": "segments", "out": tmp_path, "sources": {"slides": [{"path": "a.tif"}]}}
    with pytest.raises(SettingsError, match="sources are for crops"):
        checked(FinetuneSettings, raw, where="settings")


def test_a_run_needs_crops_or_sources(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="crops"):
        checked(PretrainSettings, {"out": tmp_path}, where="settings")
    with pytest.raises(SettingsError, match="slides"):
        checked(PretrainSettings, {"out": tmp_path, "sources": {"slides": []}}, where="settings")
