"""Improving a model with corrected cells: what is held out, what is learned, what is said, what is kept."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from tests.corrected_slide import Corrected, correct, make_slide
from torch.nn import functional as F

from napari_dama.errors import JobError, OutputError, SettingsError, StoreError
from napari_dama.evaluate.before_after import compare
from napari_dama.jobs import improvement, process
from napari_dama.jobs.folder import read_job
from napari_dama.models.card import Card
from napari_dama.models.model import Model
from napari_dama.models.shelf import load_card, load_model
from napari_dama.training.held_out import BETWEEN, HELD, LEARN, hold_out
from napari_dama.training.improve import improve
from napari_dama.training.improve_data import find_corrected, prepare, readiness, sampling_words
from napari_dama.training.improve_fit import Lessons, class_weights, fit_head, loss_of

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(autouse=True)
def small_networks() -> None:
    """The bundled model is improved here, as it is."""


# -- which cells are held out ----------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("slides", [1, 3])
def test_no_pixel_is_on_both_sides_and_every_class_is_on_both(seed: int, slides: int) -> None:
    rng = np.random.default_rng(seed)
    places = rng.uniform(0, 600, (120, 2))
    types = rng.choice(["a", "b", "c"], 120, p=[0.7, 0.2, 0.1])
    slide = rng.integers(slides, size=120)
    found = hold_out(places, types, slide, field_um=20.0, seed=seed)
    held, learn = found.part == HELD, found.part == LEARN
    for i in np.flatnonzero(held):
        for j in np.flatnonzero(learn):
            apart = np.abs(places[i] - places[j]).max() > 20
            assert apart or slide[i] != slide[j]
    for i in np.flatnonzero(found.part == BETWEEN):  # nothing is thrown away for nothing
        assert any(
            slide[j] == slide[i] and np.abs(places[i] - places[j]).max() <= 20 for j in np.flatnonzero(held)
        )
    assert {*types[held]} == {*types[learn]} == {"a", "b", "c"} and not found.untested
    assert 0.15 < held.mean() < 0.45
    again = hold_out(places, types, slide, field_um=20.0, seed=seed)
    assert (again.part == found.part).all() and again.how == found.how
    if slides > 1:
        whole = all(len({*held[slide == number]}) == 1 for number in range(slides))
        assert whole == found.how.endswith("slides held out whole")


def test_a_lone_cell_of_a_class_is_learned_and_not_tested() -> None:
    places = np.random.default_rng(0).uniform(0, 500, (40, 2))
    types = np.array(["a"] * 20 + ["b"] * 19 + ["rare"])
    found = hold_out(places, types, np.zeros(40), field_um=15.0)
    assert found.part[-1] == LEARN and found.untested == ("rare",)


def test_cells_in_one_place_cannot_be_parted() -> None:
    places = np.random.default_rng(0).uniform(0, 10, (40, 2))
    with pytest.raises(StoreError, match="correct some elsewhere"):
        hold_out(places, ["a", "b"] * 20, np.zeros(40), field_um=20.0)


# -- whether there are enough ----------------------------------------------------------------------------------


def test_what_is_missing_is_said_in_numbers() -> None:
    few = readiness({"neuron": 5}, ["neuron", "glia"])
    assert "15 more corrected or confirmed cells (5 of at least 20)" in few.blocker
    assert "a second class" in few.blocker
    new = readiness({"neuron": 20, "odd": 3}, ["neuron", "glia"])
    assert new.blocker == "Still needed: 1 more of the new class odd."
    known = readiness({"neuron": 20, "glia": 3}, ["neuron", "glia", "other"])
    assert not known.blocker
    assert known.hints == (
        "glia has 3: with 1 more it could be tested, too.",
        "other has none: it stays as the model knows it, and is not tested.",
    )


def test_the_way_cells_were_chosen_is_told() -> None:
    assert "12 of 60 corrected cells were proposed" in sampling_words(
        {"doubtful": 12, "cells": 60, "how": "x"}
    )
    assert "no random sample" in sampling_words({"doubtful": 0, "cells": 60, "how": "x"})


# -- before and after ------------------------------------------------------------------------------------------


def test_before_and_after_against_plain_counting() -> None:
    rng = np.random.default_rng(1)
    truth = rng.integers(3, size=80)
    before = np.where(rng.random(80) < 0.5, truth, rng.integers(3, size=80))
    after = np.where(rng.random(80) < 0.9, truth, rng.integers(3, size=80))
    found = compare(truth, before, after, ["a", "b", "c"])
    better = sum(a == t != b for t, b, a in zip(truth, before, after, strict=True))
    worse = sum(b == t != a for t, b, a in zip(truth, before, after, strict=True))
    assert (found.better, found.worse, found.n) == (better, worse, 80)
    assert found.p == pytest.approx(stats.binomtest(better, better + worse).pvalue)
    for side, told in ((found.before, before), (found.after, after)):
        recalls = [np.mean([g == t for t, g in zip(truth, told, strict=True) if t == k]) for k in range(3)]
        assert side.recall == pytest.approx(recalls)
        assert side.balanced_accuracy == pytest.approx(np.mean(recalls))
    change = found.after.accuracy - found.before.accuracy
    assert found.low < change < found.high and found.verdict == "better"
    assert f"better on {better} cells, worse on {worse}, of 80 held-out cells" in found.sentence
    back = compare(truth, after, before, ["a", "b", "c"])
    assert back.verdict == "worse" and "WORSE than its parent" in back.sentence
    assert (back.low, back.high) == (pytest.approx(-found.high), pytest.approx(-found.low))


def test_few_cells_show_no_difference() -> None:
    truth = np.zeros(12, int)
    found = compare(truth, np.array([1, 1] + [0] * 10), truth, ["a", "b"])
    assert found.verdict == "open" and "No difference can be shown" in found.sentence
    assert "few cells" in found.sentence
    same = compare(truth, truth, truth, ["a", "b"])
    assert same.p == 1.0 and same.sentence.startswith("No difference: both models")
    json.dumps(same.to_json(), allow_nan=False)


# -- fitting ---------------------------------------------------------------------------------------------------


def test_the_loss_against_loops() -> None:
    torch.manual_seed(0)
    logits = torch.randn(6, 3)
    targets = torch.tensor([0, 2, -1, 1, -1, 2])
    weight = torch.rand(6)
    known = torch.tensor([True, True, False])
    said = torch.rand(6, 3) * known
    said = said / said.sum(dim=1, keepdim=True)
    total = 0.0
    for i in range(6):
        if targets[i] >= 0:
            total += float(weight[i] * F.cross_entropy(logits[i : i + 1], targets[i : i + 1]))
        else:
            own = logits[i, :2].softmax(0)
            total += float(weight[i] * sum(said[i, k] * (said[i, k] / own[k]).log() for k in range(2)))
    assert float(loss_of(logits, Lessons(logits, targets, weight, said, known))) == pytest.approx(
        total, rel=1e-5
    )
    shares = class_weights(np.array([0, 0, 0, 0, 1, -1]), 2)
    assert shares.sum() == pytest.approx(1) and shares[4] == pytest.approx(2 * shares[0]) and shares[5] == 0


def test_holding_keeps_the_parent_and_not_holding_learns() -> None:
    from napari_dama.models.build import brain_card, build_part

    torch.manual_seed(0)
    part: Any = build_part(brain_card("x", tasks=("types",)), "types")
    x = torch.randn(60, part.head.in_features)
    targets = torch.arange(60) % 5
    lessons = Lessons(
        x, targets, torch.full((60,), 1 / 60), torch.full((60, 5), 0.2), torch.ones(5, dtype=torch.bool)
    )
    start = part.head.weight.detach().clone()
    distances, right = [], []
    for hold in (1e6, 0.1, 0.0):
        part.head.weight.data.copy_(start)
        part.head.bias.data.zero_()
        fit_head(part, lessons, hold=hold, tell=lambda *_: None, stop=lambda: False)
        distances.append(float((part.head.weight.detach() - start).norm()))
        right.append(float((part.classify(x).argmax(1) == targets).float().mean()))
    assert distances[0] < 1e-3 < distances[1] < distances[2] and right[2] == 1.0


# -- the whole job ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model() -> Model:
    return load_model("dama-brain7")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, model: Model) -> Corrected:
    """A slide on which two markers are exchanged, so that the bundled model errs."""
    return make_slide(tmp_path_factory.mktemp("exchanged"), model, seed=501, size=512, shift="exchanged")


def test_an_exchanged_marker_is_learned_and_the_model_goes_on_the_shelf(
    made: Corrected, own_shelves: Path, tmp_path: Path
) -> None:
    labels = np.random.default_rng(0).permutation(made.truth["label"].to_numpy())[:150]
    journal = correct(made, labels)
    parent = load_card("dama-brain7")
    settings = prepare([find_corrected(made.slide)], tmp_path / "job", device="cpu")
    assert settings.init.endswith("dama-brain7") and settings.classes == parent.classes
    found = improve(settings).types
    assert found is not None
    assert found.verdict == "better" and found.after.balanced_accuracy > found.before.balanced_accuracy + 0.1
    job = tmp_path / "job"
    report = improvement.read_report(job)
    assert report["sentence"] == found.sentence and report["n"] == found.n
    view = read_job(job)
    assert view.state == "finished" and view.kind == "improve" and not improvement.read_decision(job)
    name = improvement.accept(job)
    assert name == "dama-brain7-improved" and improvement.read_decision(job) == "accepted"
    card = load_card(name)
    assert card.parent == "dama-brain7" and card.classes == parent.classes
    assert card.metrics["types"]["validation"]["n"] == found.n
    import hashlib

    told = card.training["improved"]["corrections"][0]
    assert told["sha256"] == hashlib.sha256(journal.read_bytes()).hexdigest()
    # everything but the last layer is the parent's
    old, new = load_model("dama-brain7").state(), load_model(name).state()
    changed = {key for key in old if not torch.equal(old[key], new[key])}
    assert changed <= {"types.head.weight", "types.head.bias"}
    with pytest.raises(OutputError, match="has a model"):
        improvement.accept(job, name)
    assert improvement.free_name(job) == "dama-brain7-improved-2"


def test_a_new_class_grows_the_head_and_renamed_ones_keep_their_weights(
    made: Corrected, own_shelves: Path, tmp_path: Path
) -> None:
    rows = made.truth.sample(80, random_state=1)
    types = ["granule cell" if kind == "neuron" and i % 2 else kind for i, kind in enumerate(rows["type"])]
    types = ["star" if kind == "astrocyte" else kind for kind in types]
    journal = correct(made, rows["label"], types=types)
    lines = [
        {
            "record": "class",
            "n": 2,
            "what": "rename",
            "name": "astrocyte",
            "value": "star",
            "before": "astrocyte",
        },
        {"record": "class", "n": 3, "what": "colour", "name": "granule cell", "value": "#123456"},
    ]
    with journal.open("a", encoding="utf-8") as file:
        file.writelines(json.dumps(line) + "\n" for line in lines)
    settings = prepare(
        [find_corrected(journal)], tmp_path / "job", model="dama-brain7", device="cpu", hold=1e7
    )
    assert settings.classes[-1] == "granule cell" and settings.class_colours[-1] == "#123456"
    assert settings.parent_classes[settings.classes.index("star")] == "astrocyte"
    improve(settings)
    old, new = load_model("dama-brain7").state(), load_model(tmp_path / "job" / "model").state()
    for place, name in enumerate(settings.parent_classes):
        if name is not None:  # held with all force: only the rows' places may differ
            at = load_card("dama-brain7").classes.index(name)
            assert torch.allclose(old["types.head.weight"][at], new["types.head.weight"][place], atol=1e-3)


@pytest.mark.parametrize(
    "options",
    [
        {"encoder": True, "epochs": 1},
        {"pseudo_labels": True, "rehearse": 30},
        {"rehearse_weight": 0.5, "rehearse": 30},
    ],
)
def test_other_ways_to_learn(
    made: Corrected, own_shelves: Path, tmp_path: Path, options: dict[str, Any]
) -> None:
    correct(made, made.truth["label"].sample(40, random_state=4))
    settings = prepare([find_corrected(made.slide)], tmp_path / "job", device="cpu", **options)
    found = improve(settings).types
    assert found is not None
    learned = improvement.read_report(tmp_path / "job")["learned"]
    assert found.n > 3 and (learned["unreviewed"] > 0) == ("rehearse" in options)
    old, new = load_model("dama-brain7").state(), load_model(tmp_path / "job" / "model").state()
    changed = {key for key in old if not torch.equal(old[key], new[key])}
    assert any(key.startswith("types.encoder.") for key in changed) == ("encoder" in options)
    assert all(key.startswith("types.") for key in changed)


def test_wrong_corrections_make_it_worse_and_that_is_said(
    made: Corrected, own_shelves: Path, tmp_path: Path
) -> None:
    """Learned from nonsense, tested on truth: the parent was better, and the card says so."""
    import pandas as pd

    names = sorted(made.truth["type"].unique())
    rows = made.truth[made.truth["type"].isin(["neuron", "endothelial", "oligodendrocyte"])]
    rows = rows.sample(min(90, len(rows)), random_state=0)
    correct(made, rows["label"])
    settings = prepare([find_corrected(made.slide)], tmp_path / "job", device="cpu")
    file = tmp_path / "job" / "annotations" / "cells.csv"
    table = pd.read_csv(file)
    learn = table["part"] == LEARN
    table.loc[learn, "type"] = [
        names[(names.index(kind) + 1) % len(names)] for kind in table.loc[learn, "type"]
    ]
    table.to_csv(file, index=False)
    found = improve(settings).types
    assert found is not None
    assert found.verdict == "worse" and "WORSE" in found.sentence
    assert any("Worse than its parent" in limit for limit in Card.read(tmp_path / "job" / "model").limits)


def test_too_few_corrections_leave_nothing_behind(made: Corrected, own_shelves: Path, tmp_path: Path) -> None:
    correct(made, made.truth["label"][:12])
    with pytest.raises(SettingsError, match="8 more corrected or confirmed"):
        prepare([find_corrected(made.slide)], tmp_path / "job")
    assert not (tmp_path / "job").exists()


def test_as_a_job_of_its_own_and_discarded(made: Corrected, own_shelves: Path, tmp_path: Path) -> None:
    import time

    correct(made, made.truth["label"].sample(60, random_state=2), who="next")
    settings = prepare([find_corrected(made.slide)], tmp_path / "job", device="cpu", threads=1)
    process.start(settings)
    (waiting,) = improvement.improvements_of(made.result)
    assert waiting.path == tmp_path / "job"
    with pytest.raises(JobError):
        improvement.accept(tmp_path / "job")
    end = time.monotonic() + 120
    while read_job(tmp_path / "job").going:
        assert time.monotonic() < end
        time.sleep(0.2)
    assert read_job(tmp_path / "job").state == "finished", (tmp_path / "job" / "log.txt").read_text()
    report = improvement.read_report(tmp_path / "job")
    assert "60 of 60 corrected cells were proposed by 'Next cell'" in report["sampling"]
    improvement.discard(tmp_path / "job")
    assert not (tmp_path / "job").exists() and not improvement.improvements_of(made.result)
    assert not own_shelves.exists()


def test_command_line(made: Corrected, own_shelves: Path, tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from napari_dama.cli.app import app

    correct(made, made.truth["label"].sample(60, random_state=3))
    run = CliRunner().invoke
    out = str(tmp_path / "job")
    first = run(app, ["improve", str(made.slide), "-o", out, "--set", "device=cpu"])
    assert first.exit_code == 0, first.output
    assert "held-out cells" in first.stdout and "--accept NAME" in first.stdout
    again = run(app, ["improve", str(made.slide), "-o", out])
    assert again.exit_code == 1 and "already" in again.stderr
    taken = run(app, ["improve", "-o", out, "--accept", "mine", "--json"])
    facts = json.loads(taken.stdout)
    assert facts["accepted"] == "mine" and load_card("mine").parent == "dama-brain7"
    assert facts["before"]["confusion"] and facts["decision"] == "accepted"
    assert run(app, ["improve", "-o", out, "--discard"]).exit_code == 0
    assert not (tmp_path / "job").exists()
    assert run(app, ["improve", "-o", out]).exit_code == 2
