"""Improving a model with corrected outlines: what is taken as right, what is held out, what is learned, what is kept."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from scipy import ndimage
from skimage.segmentation import expand_labels
from tests.corrected_outlines import Outlined, correct_outlines, read_labels
from tests.corrected_slide import Corrected, correct, make_slide

from napari_dama.cells.correction_records import type_record
from napari_dama.errors import Interrupted, JobError, SettingsError, StoreError
from napari_dama.jobs import improvement, process
from napari_dama.jobs.folder import read_job
from napari_dama.models.model import Model
from napari_dama.models.shelf import load_card, load_model
from napari_dama.slides.region import Region
from napari_dama.training.held_out import BETWEEN, HELD, LEARN
from napari_dama.training.improve import improve
from napari_dama.training.improve_areas import HIDDEN, OWN, outlines_ready, part_outlines
from napari_dama.training.improve_data import find_corrected, prepare
from napari_dama.training.improve_outlines import OutlineLesson, load_areas

pytestmark = pytest.mark.usefixtures("one_thread")
QUICK: dict[str, Any] = {"device": "cpu", "outline_steps": 4, "outline_batch": 2}


@pytest.fixture(autouse=True)
def small_networks() -> None:
    """The bundled model is improved here, as it is."""


@pytest.fixture(scope="module")
def model() -> Model:
    return load_model("dama-brain7")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, model: Model) -> Corrected:
    return make_slide(tmp_path_factory.mktemp("drawn"), model, seed=502, size=448, shift="exchanged")


def redraw(made: Corrected, count: int, *, seed: int = 0, delete: int = 0, types: int = 0) -> list[int]:
    """A journal in which some cells are drawn larger, and some deleted; the result's files are left behind it."""
    labels = read_labels(made.result)
    grown = expand_labels(labels, 2)
    order = np.random.default_rng(seed).permutation(made.truth["label"].to_numpy())
    chosen = [int(label) for label in order[: count + delete]]
    acts: list[tuple[set[int], set[int]]] = [({label}, {label}) for label in chosen[:count]]
    acts += [({label}, set()) for label in chosen[count:]]
    before = []
    if types:
        rest = made.truth[~made.truth["label"].isin(chosen)]
        rows = rest.sample(min(types, len(rest)), random_state=seed)
        before = [type_record(1, rows.assign(reviewed=False), rows["type"].tolist(), "click")]
    correct_outlines(Outlined(made.slide, made.result, grown), acts, before=before, write=False)
    return chosen


# -- what is taken as right, and what is held out --------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
def test_areas_lie_on_one_side_and_nothing_held_out_is_seen(made: Corrected, seed: int) -> None:
    redraw(made, 14, seed=seed, delete=4)
    corrected = find_corrected(made.slide)
    parts = part_outlines([corrected], load_card("dama-brain7"), near_um=4.0, seed=seed)
    table = parts.table
    assert len(table) == 18 and table["deleted"].sum() == 4
    assert {*table["part"]} <= {LEARN, HELD, BETWEEN} and {area.part for area in parts.areas} == {LEARN, HELD}
    assert (table.loc[table["part"] != BETWEEN, "area"] >= 0).all()
    for number, area in enumerate(parts.areas):
        assert {*table.loc[table["area"] == number, "part"]} == {area.part}
    whole = read_labels(made.result)
    owned = {LEARN: np.zeros(whole.shape, bool), HELD: np.zeros(whole.shape, bool)}
    for area in parts.areas:
        zone = parts.images[area.zone]
        owned[area.part][Region.parse(area.region).slices] |= zone == OWN
    assert owned[HELD].any() and owned[LEARN].any() and not (owned[HELD] & owned[LEARN]).any()
    for area in parts.areas:
        zone, place = parts.images[area.zone], Region.parse(area.region).slices
        hidden = owned[HELD][place] if area.part == LEARN else np.zeros(zone.shape, bool)
        assert ((zone == HIDDEN) == hidden).all()


def test_the_zone_is_what_lies_near_with_whole_cells(made: Corrected) -> None:
    """Against every pixel's distance to the corrected cells of its area; edits that are only in the journal count."""
    redraw(made, 12, seed=1, delete=2)
    corrected = find_corrected(made.slide)
    before = read_labels(made.result)
    near_um = 4.0
    parts = part_outlines([corrected], load_card("dama-brain7"), near_um=near_um)
    um = corrected.result.pixel_um
    drawn = parts.table[~parts.table["deleted"]]
    deleted = parts.table[parts.table["deleted"]]
    checked = 0
    for number, area in enumerate(parts.areas):
        place = Region.parse(area.region).slices
        labels, zone = parts.images[area.labels], parts.images[area.zone]
        assert not np.isin(labels, deleted["label"]).any()  # they are gone, though the file still has them
        own = np.isin(labels, drawn.loc[drawn["area"] == number, "label"])
        own |= np.isin(before[place], deleted.loc[deleted["area"] == number, "label"])
        near = ndimage.distance_transform_edt(~own) * um <= near_um
        want = near | np.isin(labels, sorted({*labels[near].tolist()} - {0}))
        if area.part == HELD:
            assert ((zone == OWN) == want).all()
        assert (want[zone == OWN]).all() and (zone != 0)[want].all()
        for label in {*labels[zone == OWN].tolist()} - {0}:
            assert (zone[labels == label] == OWN).all()
            checked += 1
    assert checked > 14


def test_what_is_missing_is_said(made: Corrected, tmp_path: Path) -> None:
    assert outlines_ready(12) == "" and outlines_ready(11).startswith("1 more corrected outline (11 of")
    redraw(made, 7)
    with pytest.raises(SettingsError, match=r"5 more corrected outlines \(7 of at least 12"):
        prepare([find_corrected(made.slide)], tmp_path / "job", model="dama-brain7")
    with pytest.raises(
        SettingsError, match=r"20 more corrected or confirmed cells.*5 more corrected outlines"
    ):
        prepare([find_corrected(made.slide)], tmp_path / "job", model="dama-brain7")
    assert not (tmp_path / "job").exists()
    redraw(made, 7, types=60)
    settings = prepare([find_corrected(made.slide)], tmp_path / "job", model="dama-brain7")
    assert settings.learn == ["types"]
    facts = json.loads((tmp_path / "job" / "annotations" / "split.json").read_text())
    assert any("Outlines were not learned" in hint and "5 more" in hint for hint in facts["hints"])
    with pytest.raises(SettingsError, match="5 more corrected outlines"):
        prepare([find_corrected(made.slide)], tmp_path / "other", model="dama-brain7", learn=["outlines"])


def test_corrections_in_one_place_cannot_be_parted(made: Corrected) -> None:
    labels = read_labels(made.result)
    rows = made.truth.copy()
    rows["far"] = np.hypot(rows["y"] - 224, rows["x"] - 224)
    acts: list[tuple[set[int], set[int]]] = [
        ({int(v)}, {int(v)}) for v in rows.sort_values("far")["label"][:12]
    ]
    correct_outlines(Outlined(made.slide, made.result, expand_labels(labels, 2)), acts, write=False)
    with pytest.raises(StoreError, match="correct some elsewhere"):
        part_outlines([find_corrected(made.slide)], load_card("dama-brain7"), near_um=30.0)


# -- learning --------------------------------------------------------------------------------------------------


class NoFolder:
    """A folder without checkpoints."""

    def load_checkpoint(self, name: str) -> None:
        return None


def learned(settings: Any, model: Model) -> tuple[OutlineLesson, dict[str, torch.Tensor]]:
    lesson = OutlineLesson(settings, model, load_areas(settings, settings.out, model))
    lesson.fit(NoFolder(), tell=lambda *_: None, stop=lambda: False)  # type: ignore[arg-type]
    return lesson, {name: value.clone() for name, value in lesson.part.state_dict().items()}


def test_held_out_pixels_and_outlines_change_nothing_that_is_learned(
    made: Corrected, model: Model, tmp_path: Path
) -> None:
    redraw(made, 18, types=0)
    settings = prepare(
        [find_corrected(made.slide)], tmp_path / "job", model="dama-brain7", near_um=4.0, **QUICK
    )
    lesson, first = learned(settings, model)
    before = {name: value.clone() for name, value in lesson.parent.state_dict().items()}
    changed = {name for name in first if not torch.equal(first[name], before[name])}
    assert changed and not any(name.startswith("encoder.") for name in changed)
    assert not any("running" in name for name in changed)
    slide = tmp_path / made.slide.name
    with tifffile.TiffFile(made.slide) as file:
        pixels, description = file.asarray(), file.pages[0].description  # type: ignore[union-attr]
    rng = np.random.default_rng(0)
    for area in settings.areas:
        place = Region.parse(area.region).slices
        zone = tifffile.imread(settings.out / area.zone) == OWN
        if area.part == "held":
            pixels[:, *place][:, zone] = rng.integers(0, 60_000, (len(pixels), zone.sum()))
            labels = tifffile.imread(settings.out / area.labels)
            tifffile.imwrite(settings.out / area.labels, np.roll(labels, 9, axis=0))
    tifffile.imwrite(slide, pixels, description=description.encode())
    other = settings.model_copy(deep=True)
    other.slides[0].slide = slide
    _, again = learned(other, model)
    assert all(torch.equal(first[name], again[name]) for name in first)


def test_what_is_drawn_is_learned_and_other_looks_are_not_forgotten(
    made: Corrected, model: Model, tmp_path: Path
) -> None:
    """Checked zones come nearer to what was drawn; in another brightness the parent's word stays, when it is rehearsed."""
    redraw(made, 18)
    away = []
    for weight in (0.0, 10.0):
        settings = prepare(
            [find_corrected(made.slide)],
            tmp_path / f"job_{weight}",
            model="dama-brain7",
            near_um=4.0,
            **{**QUICK, "outline_steps": 20, "rehearse_outlines": weight},
        )
        lesson, _ = learned(settings, model)
        field = lesson.learned[0]
        x = torch.from_numpy(field.pixels[None, :, :256, :256].astype(np.float32))
        zone = field.zone[:256, :256]

        def said(look: torch.Tensor, lesson: OutlineLesson = lesson) -> list[np.ndarray]:  # type: ignore[type-arg]
            with torch.no_grad():
                return [part(look).sigmoid()[0, 0].numpy() for part in (lesson.parent, lesson.part)]

        if not weight:
            truth = field.labels[:256, :256] > 0
            off = [np.abs(each - truth)[zone == OWN].mean() for each in said(x)]
            assert off[1] < off[0]
        one, other = said(x**2)
        away.append(np.abs(one - other).mean())
    assert away[1] < away[0]


# -- the whole job ---------------------------------------------------------------------------------------------


def test_a_run_that_was_stopped_goes_on_as_one_left_alone(
    made: Corrected, own_shelves: Path, tmp_path: Path
) -> None:
    redraw(made, 18)
    settings = prepare([find_corrected(made.slide)], tmp_path / "job", model="dama-brain7", **QUICK)
    shutil.copytree(tmp_path / "job", tmp_path / "other")
    seen: list[int] = []

    def tell(done: int, total: int, doing: str) -> None:
        seen.extend([done] if doing == "Learning outlines" else [])

    with pytest.raises(Interrupted, match="stopped at step"):
        improve(settings, progress=tell, stop=lambda: len(seen) > 0)
    view = read_job(settings.out)
    assert (
        view.state == "stopped" and (settings.out / "last").is_dir() and not (settings.out / "model").exists()
    )
    found = improve(settings, resume=True)
    whole = improve(settings.model_copy(update={"out": tmp_path / "other"}))
    assert found.types is None and found.outlines is not None and whole.outlines is not None
    assert found.outlines == whole.outlines
    one, other = (load_model(folder / "model").state() for folder in (tmp_path / "job", tmp_path / "other"))
    assert all(torch.equal(one[name], other[name]) for name in one)
    rows = [(tmp_path / name / "metrics.csv").read_text() for name in ("job", "other")]
    assert rows[0] == rows[1] and rows[0].count("\n") == 1 + QUICK["outline_steps"]
    changed = {
        key for key, old in load_model("dama-brain7").state().items() if not torch.equal(old, one[key])
    }
    assert changed and all(key.startswith("segments.") for key in changed)


def test_types_and_outlines_in_one_job_and_each_is_taken_by_itself(
    made: Corrected, own_shelves: Path, tmp_path: Path
) -> None:
    from typer.testing import CliRunner

    from napari_dama.cli.app import app

    redraw(made, 18, types=90)
    run = CliRunner().invoke
    out = str(tmp_path / "job")
    quick = ["--set", "device=cpu", "--set", "outline_steps=2", "--set", "outline_batch=1"]
    first = run(app, ["improve", str(made.slide), "-o", out, *quick])
    assert first.exit_code == 0, first.output
    assert "mean of the classes" in first.stdout and "outlines found (F1 at IoU 0.5)" in first.stdout
    assert "within 8 µm" in first.stdout and "improved on the held-out part:" in first.stdout
    report = improvement.read_report(tmp_path / "job")
    assert report["learn"] == ["types", "outlines"] and report["outlines"]["learned"]["held"] > 1
    assert set(report["improved"]) <= {"types", "outlines"}
    parent = load_model("dama-brain7").state()
    taken = {}
    for only, networks in (("types", {"types"}), ("outlines", {"segments"})):
        done = run(app, ["improve", "-o", out, "--accept", f"mine-{only}", "--only", only, "--json"])
        assert done.exit_code == 0, done.output
        facts = json.loads(done.stdout)
        assert facts["parts"] == [only] and facts["accepted"] == f"mine-{only}"
        state = load_model(f"mine-{only}").state()
        assert {key.split(".")[0] for key in parent if not torch.equal(parent[key], state[key])} == networks
        taken[only] = load_card(f"mine-{only}")
    assert "outlines" in taken["outlines"].training["improved"]
    assert "cells_per_class" in taken["types"].training["improved"]
    assert taken["outlines"].metrics["segments"]["validation"]["n"] == report["outlines"]["n"]
    assert "segments" not in taken["types"].metrics and "types" not in taken["outlines"].metrics
    name = improvement.accept(tmp_path / "job", "both", parts=["types", "outlines"])
    both = load_model(name).state()
    assert {key.split(".")[0] for key in parent if not torch.equal(parent[key], both[key])} == {
        "types",
        "segments",
    }
    # by default what improved is taken; where nothing did, nothing is taken by itself
    file = tmp_path / "job" / "improvement.json"
    file.write_text(json.dumps({**report, "improved": ["types"]}))
    improvement.accept(tmp_path / "job", "usual")
    assert improvement.decision_of(tmp_path / "job")["parts"] == ["types"]
    file.write_text(json.dumps({**report, "improved": []}))
    with pytest.raises(JobError, match="Neither types nor outlines improved"):
        improvement.accept(tmp_path / "job", "none")
    wrong = run(app, ["improve", "-o", out, "--accept", "x", "--only", "cells"])
    assert wrong.exit_code == 2 and "--only is types or outlines" in wrong.stderr


def test_types_only_jobs_refuse_outlines(made: Corrected, own_shelves: Path, tmp_path: Path) -> None:
    correct(made, made.truth["label"].sample(40, random_state=3))
    settings = prepare([find_corrected(made.slide)], tmp_path / "job", model="dama-brain7", device="cpu")
    assert settings.learn == ["types"]
    improve(settings)
    with pytest.raises(JobError, match="outlines cannot be taken"):
        improvement.accept(tmp_path / "job", parts=["outlines"])
    assert process.read_settings(tmp_path / "job") == settings
