"""Whole comparisons in miniature: what is reported, what is never seen, and what survives kills, failures and changes."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from typer.testing import CliRunner

from evaluate.compare.conftest import COMMON, SMALL, plain
from napari_dama.cells.store import CropStore
from napari_dama.cli import app
from napari_dama.errors import DamaError, Interrupted, OutputError, SettingsError
from napari_dama.evaluate.compare import Comparison, Experiment, compare
from napari_dama.evaluate.compare.report import is_simulated, verdict
from napari_dama.evaluate.compare.splits import plan_folds
from napari_dama.evaluate.compare.work import job_pace
from napari_dama.training.settings import FinetuneSettings, PretrainSettings
from training.conftest import write_store

ONE_METHOD: dict[str, Any] = {"methods": [{"name": "random", "init": "random"}], "baselines": False}
ONE_METHOD |= {"modes": ["finetune"]}


def scored(found: Comparison) -> pd.DataFrame:
    return found.results[found.results["kind"] != "pretrain"]


def test_everything_is_left_that_was_promised(whole: Comparison) -> None:
    names = {path.name for path in whole.out.iterdir()}
    wanted = (
        "experiment.yaml table.csv table.md tests.csv results.csv plot.png README.md units measures.parquet"
    )
    assert names == set(wanted.split())
    assert not whole.failed and set(whole.results["state"]) == {"done"}
    assert (whole.out / "plot.png").read_bytes().startswith(b"\x89PNG")
    record = yaml.safe_load((whole.out / "experiment.yaml").read_text())
    assert record["experiment"]["folds"] == 2 and record["store"]["cells"] == 72
    assert {"python", "torch"} <= set(record["machine"]["versions"]) and record["begun"]
    assert set(scored(whole)["method"]) == {"rule", "boosting", "dama", "random"}
    assert not list(whole.out.rglob("state.safetensors"))  # checkpoints are cleared away,
    assert len(list(whole.out.rglob("weights.safetensors"))) == 2  # and pretrained models kept


def test_predictions_are_of_the_folds_test_cells_alone_and_scores_follow_from_them(
    whole: Comparison, store: Path
) -> None:
    opened = CropStore.open(store)
    plans = plan_folds(opened, Experiment.from_raw(plain(store)))
    for row in scored(whole).itertuples():
        table = pd.read_parquet(whole.out / str(row.folder) / "predictions.parquet")
        test = plans[int(row.fold) - 1].test
        wanted = [i for i in range(len(opened)) if opened.groups[i] in test]
        assert list(table["row"]) == wanted
        assert list(table["type"]) == list(opened.table["type"].iloc[wanted])
        per_class = [
            np.mean([p == kind for t, p in zip(table["type"], table["predicted"], strict=True) if t == kind])
            for kind in sorted(set(table["type"]))
        ]
        assert row.balanced_accuracy == pytest.approx(np.mean(per_class))
        assert row.accuracy == pytest.approx((table["type"] == table["predicted"]).mean())


def test_the_table_is_means_over_folds_and_gains_over_random(whole: Comparison) -> None:
    rows = scored(whole)
    for line in whole.table.to_dict("records"):

        def of(method: str, line: dict[Any, Any] = line) -> list[float]:
            same = (rows["method"] == method) & (rows["mode"] == line["mode"])
            same &= rows["label_share"] == line["label_share"]
            return [float(rows[same & (rows["fold"] == k)][line["metric"]].mean()) for k in (1, 2)]

        own = of(line["method"])
        assert [line["fold_1"], line["fold_2"]] == pytest.approx(own)
        assert line["mean"] == pytest.approx(np.mean(own))
        assert line["error"] == pytest.approx(np.std(own, ddof=1) / math.sqrt(2))
        if line["method"] == "dama":
            assert line["gain"] == pytest.approx(np.mean(own) - np.mean(of("random")))
            assert line["pretrain_hours"] > 0 and line["images_per_s"] > 0
        else:
            assert math.isnan(line["pretrain_hours"])
    text = (whole.out / "table.md").read_text()
    assert text.count("| dama | linear-probe |") == 4 and "Balanced accuracy" in text


def test_tests_are_paired_and_corrected_together(whole: Comparison) -> None:
    tests = whole.tests
    assert set(tests["reference"]) == {"random", "boosting"}
    assert len(tests) == 3 * 2 * 2 * 3  # metrics, modes, fractions, pairs
    own = tests[tests["metric"] == "accuracy"]
    assert (own["cells_better"] + own["cells_worse"] <= 72).all() and own["p_cells"].notna().all()
    assert (own["p_holm"].fillna(1) >= own["p_corrected"].fillna(0)).all()
    one = own[(own["method"] == "dama") & (own["mode"] == "finetune") & (own["label_share"] == 1)].iloc[0]
    rows = scored(whole)
    pick = rows[(rows["label_share"] == 1) & rows["mode"].isin(["finetune", "baseline"])]
    means = pick.groupby("method")["accuracy"].mean()
    assert one["mean"] == pytest.approx(means["dama"] - means[one["reference"]])


def test_runs_were_told_what_never_to_see_and_labels_are_the_same_for_all(
    whole: Comparison, store: Path
) -> None:
    opened = CropStore.open(store)
    plans = plan_folds(opened, Experiment.from_raw(plain(store)))
    subsets: dict[tuple[Any, ...], set[Any]] = {}
    for row in whole.results[whole.results["kind"] != "baseline"].itertuples():
        file = whole.out / str(row.folder) / "job" / "job.yaml"
        kind = PretrainSettings if row.kind == "pretrain" else FinetuneSettings
        settings = kind.from_file(file)
        plan = plans[int(row.fold) - 1]
        assert settings.test_groups == list(plan.test)
        assert settings.validation_groups == list(plan.validation)
        if isinstance(settings, FinetuneSettings):
            key = (settings.label_share, row.fold, row.seed)
            subsets.setdefault(key, set()).add((settings.label_seed, tuple(settings.classes or ())))
    assert len(subsets) == 4 and all(len(found) == 1 for found in subsets.values())


def test_nothing_that_was_chosen_by_is_reported(whole: Comparison) -> None:
    result = json.loads((whole.out / scored(whole)["folder"].iloc[-1] / "result.json").read_text())
    assert "score" in result["chosen_by"]  # kept beside, for who wants to know
    for name in ("results.csv", "table.csv", "tests.csv"):
        header = (whole.out / name).read_text().splitlines()[0]
        assert "valid" not in header and "chosen" not in header


def test_test_crops_change_nothing_that_is_trained(store: Path, tmp_path: Path) -> None:
    """The same run on a store whose test field is all white."""
    from napari_dama.training.finetune import finetune
    from napari_dama.training.pretrain import pretrain

    other = write_store(tmp_path / "store", groups=6, per_group=12)
    crops = np.load(other / "crops.npy")
    crops[CropStore.open(other).groups == "field5"] = 65535
    np.save(other / "crops.npy", crops)
    weights = []
    for place, path in enumerate((store, other)):
        common = {
            **COMMON,
            "max_steps": 2,
            "validation_groups": ["field4"],
            "test_groups": ["field5"],
            "name": "n",
        }
        out, pre = tmp_path / f"types{place}", tmp_path / f"pre{place}"
        found = pretrain(PretrainSettings(crops=path, out=pre, decoder_depth=1, last_blocks=2, **common))  # type: ignore[arg-type]
        chosen = finetune(
            FinetuneSettings(
                task="types", data=[path], out=out, label_share=0.5, init=str(pre / "model"), **common
            )  # type: ignore[arg-type]
        )
        models = [(folder / "model" / "weights.safetensors").read_bytes() for folder in (pre, out)]
        weights.append((models, found, chosen))
    assert weights[0] == weights[1]


def test_a_killed_comparison_goes_on_where_it_stopped(store: Path, tmp_path: Path, whole: Comparison) -> None:
    """Killed for good in another process, then resumed here: units done are not done again, and scores are the same."""
    raw = plain(store) | ONE_METHOD | {"folds": 2}
    file, out = tmp_path / "e.yaml", tmp_path / "out"
    file.write_text(yaml.safe_dump(raw))
    code = (
        "import torch; torch.set_num_threads(1)\n"
        "from napari_dama.nets.encoder import SIZES\n"
        f"SIZES['tiny'] = {SMALL!r}\n"
        "from napari_dama.evaluate.compare import compare\n"
        f"compare({str(file)!r}, {str(out)!r})\n"
    )
    first = out / "units/types/random/finetune/labels0.2/fold1-seed0/result.json"
    with subprocess.Popen([sys.executable, "-c", code]) as process:
        try:
            until = time.monotonic() + 120
            while process.poll() is None and not first.exists() and time.monotonic() < until:
                time.sleep(0.02)
        finally:
            process.kill()
    done = {path: path.stat().st_mtime_ns for path in out.rglob("result.json")}
    assert 1 <= len(done) < 4

    with pytest.raises(OutputError, match="holds an experiment already; go on with --resume"):
        compare(file, out)
    found = compare(file, out, resume=True)
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in done.items())
    key = ["method", "mode", "label_share", "fold", "seed"]
    both = scored(found).merge(scored(whole), on=key, suffixes=("", "_whole"))
    assert len(both) == 4
    assert both["accuracy"].tolist() == pytest.approx(both["accuracy_whole"].tolist())


def test_a_stop_keeps_what_is_done_and_reports_it(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, out = tmp_path / "e.yaml", tmp_path / "out"
    file.write_text(yaml.safe_dump(plain(store) | ONE_METHOD))

    @contextmanager
    def soon() -> Any:
        asked = iter(range(10**6))
        yield lambda: next(asked) > 7

    monkeypatch.setattr("napari_dama.cli.evaluate.stop_on_interrupt", soon)
    result = CliRunner().invoke(app, ["evaluate", "compare", str(file), "-o", str(out)])
    assert result.exit_code == 130, result.output
    assert "stopped with 1 of 4 units done" in result.output and "units 0/4" in result.output
    assert "**1 of 4 units are done" in (out / "README.md").read_text()
    monkeypatch.undo()
    result = CliRunner().invoke(app, ["evaluate", "compare", str(file), "-o", str(out), "--resume", "--json"])
    assert result.exit_code == 0, result.output
    facts = json.loads(result.stdout)
    assert facts["units"] == 4 and facts["failed"] == {} and len(facts["table"]) == 6


def test_an_experiment_that_was_changed_is_not_gone_on_with(whole: Comparison, store: Path) -> None:
    def again(**changes: Any) -> Comparison:
        return compare(Experiment.from_raw(plain(store, **changes)), whole.out, resume=True)

    for changes, says in (
        ({"folds": 3}, "folds was 2 and is 3"),
        ({"seeds": [1]}, r"seeds\.0 was 0 and is 1"),
        ({"finetune": {**plain(store)["finetune"], "lr": 0.1}}, r"finetune\.lr was 0\.05 and is 0\.1"),
        (
            {"methods": [*plain(store)["methods"][:1], {"name": "b", "init": "random"}]},
            "methods.1.name was 'random'",
        ),
    ):
        with pytest.raises(SettingsError, match=says):
            again(**changes)
    assert not again(
        finetune={**plain(store)["finetune"], "device": "auto"}, keep_models=True
    ).failed  # all is done


def test_a_store_that_was_changed_is_not_gone_on_with(tmp_path: Path) -> None:
    path = write_store(tmp_path / "store", groups=4, per_group=4)
    raw = plain(path) | ONE_METHOD
    with pytest.raises(Interrupted):
        compare(Experiment.from_raw(raw), tmp_path / "out", stop=lambda: True)
    table = pd.read_csv(path / "cells.csv", keep_default_na=False)
    table.assign(type=table["type"].iloc[::-1].to_numpy()).to_csv(path / "cells.csv", index=False)
    with pytest.raises(SettingsError, match=r"store\.table_sha256 was"):
        compare(Experiment.from_raw(raw), tmp_path / "out", resume=True)


def test_a_folder_of_other_things_is_left_alone(store: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    for options in ({}, {"overwrite": True}, {"resume": True}):
        with pytest.raises(OutputError, match="holds other things than an experiment"):
            compare(Experiment.from_raw(plain(store)), tmp_path, **options)
    assert (tmp_path / "mine.txt").read_text() == "mine"


def test_a_unit_that_fails_is_reported_and_tried_again_while_others_go_on(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from napari_dama.evaluate.compare import work

    raw = plain(store, modes=["finetune"], baselines=False, label_fractions=[1.0])
    file, out = tmp_path / "e.yaml", tmp_path / "out"
    file.write_text(yaml.safe_dump(raw))
    real = work.pretrain

    def fails(settings: Any, **options: Any) -> dict[str, float]:
        if "fold2" in str(settings.out):
            raise DamaError("the loss is no longer a number")
        return real(settings, **options)

    monkeypatch.setattr(work, "pretrain", fails)
    result = CliRunner().invoke(app, ["evaluate", "compare", str(file), "-o", str(out)])
    assert result.exit_code == 1
    assert (
        "2 of 6 units failed, the first units/pretrain/dama/fold2-seed0: DamaError: the loss" in result.output
    )
    states = pd.read_csv(out / "results.csv").set_index("folder")["state"]
    assert states.value_counts().to_dict() == {"done": 4, "failed": 1, "skipped": 1}
    assert "the loss is no longer" in (out / "units/pretrain/dama/fold2-seed0/error.txt").read_text()
    assert "failed: units/pretrain/dama/fold2-seed0" in (out / "README.md").read_text()
    monkeypatch.undo()
    found = compare(file, out, resume=True)
    assert not found.failed and set(found.results["state"]) == {"done"}


def test_pretraining_elsewhere_is_once_per_seed_and_sees_no_slide_of_the_store(
    store: Path, tmp_path: Path
) -> None:
    big = write_store(tmp_path / "big", groups=9, per_group=6)  # fields 0 to 5 are those of the store
    raw = plain(store, pretrain_store=str(big), modes=["finetune"], label_fractions=[1.0], baselines=False)
    out = tmp_path / "out"
    found = compare(Experiment.from_raw(raw), out)
    (row,) = found.results[found.results["kind"] == "pretrain"].itertuples()
    settings = PretrainSettings.from_file(out / str(row.folder) / "job" / "job.yaml")
    assert row.fold == "all" and settings.test_groups == [f"field{i}" for i in range(6)]
    assert settings.validation_groups is None and not found.failed


def test_a_model_that_knows_the_test_slides_is_said(whole: Comparison, store: Path, tmp_path: Path) -> None:
    model = whole.out / "units/pretrain/dama/fold1-seed0/job/model"
    raw = plain(store, methods=[{"name": "known", "init": str(model)}], modes=["finetune"], baselines=False)
    with pytest.raises(Interrupted):
        compare(Experiment.from_raw(raw), tmp_path / "out", stop=lambda: True)
    text = (tmp_path / "out" / "README.md").read_text()
    assert "known starts from was made with slides of this store (slide0, slide1, slide2, ...)" in text


def test_a_job_in_sessions_is_timed_without_the_pause(tmp_path: Path) -> None:
    events = [
        {"kind": "data", "time": 100.0},
        {"kind": "started", "time": 101.0, "step": 0},
        {"kind": "validated", "time": 105.0, "step": 10},
        {"kind": "data", "time": 900.0},
        {"kind": "started", "time": 901.0, "step": 10},
        {"kind": "finished", "time": 907.0, "step": 20},
    ]
    (tmp_path / "events.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
    pace = job_pace(tmp_path, 8)
    assert pace["steps"] == 20 and pace["seconds"] == pytest.approx(10.0)
    assert pace["images_per_s"] == pytest.approx(16.0)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"p_holm": 0.01}, r"\+2\.00 points, 95 % interval \+1\.00 to \+3\.00: better \(p 0\.01"),
        ({"p_holm": 0.01, "mean": -0.02}, ": worse"),
        ({"p_holm": 0.2}, "within what 10 folds can show"),
        ({"p_holm": math.nan, "folds": 1}, "One fold: nothing can be said"),
        ({"p_holm": math.nan, "corrected_low": math.nan}, "the same in all 10 folds"),
    ],
)
def test_words_are_no_stronger_than_the_folds(changes: dict[str, float], says: str) -> None:
    row = {
        "method": "dama",
        "reference": "mae",
        "mode": "finetune",
        "label_share": 0.1,
        "mean": 0.02,
        "folds": 10,
    }
    row |= {"corrected_low": 0.01, "corrected_high": 0.03}
    assert re.search(says, verdict(row | changes))


def test_simulated_pixels_are_said(whole: Comparison, store: Path) -> None:
    assert is_simulated(CropStore.open(store)) is False
    assert "simulated" not in (whole.out / "README.md").read_text()


@pytest.mark.slow
def test_the_small_experiment_that_is_shipped(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole protocol on simulated fields with a network of real size, as its file says, from the command line."""
    from napari_dama.nets.encoder import SIZES

    monkeypatch.setitem(SIZES, "tiny", (192, 12, 3))
    monkeypatch.chdir(tmp_path)

    def run(*words: str) -> Any:
        result = CliRunner().invoke(app, list(words))
        assert result.exit_code == 0, f"{result.output}{result.exception!r}"
        return result

    run("simulate", "sim", "--n", "6", "--size", "192", "--seed", "1")
    slides = sorted(str(path) for path in Path("sim").glob("*.ome.tif"))
    run(
        "crops",
        *slides,
        "-o",
        "store",
        "--labels",
        *sorted(str(path) for path in Path("sim").glob("*_cells.tif")),
    )
    file = repository / "benchmarks" / "experiments" / "small.yaml"
    (tmp_path / "small.yaml").write_text(file.read_text())
    run("evaluate", "compare", "small.yaml", "-o", "small")
    results = pd.read_csv("small/results.csv")
    assert len(results) == 34 and set(results["state"]) == {"done"}
    table = (
        pd.read_csv("small/table.csv")
        .query("metric == 'balanced_accuracy'")
        .set_index(["method", "label_share"])
    )
    assert table.loc[("rule", 0.0), "mean"] > 0.5 and table.loc[("boosting", 1.0), "mean"] > 0.5
    assert "The pixels are simulated" in Path("small/README.md").read_text()
