"""Pictures of methods side by side, and the commands that evaluate detections."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tifffile
from typer.testing import CliRunner

from evaluate.fields import crowded, mistaken
from napari_dama.cli import app
from napari_dama.errors import OutputError, SettingsError, SlideError
from napari_dama.evaluate.outcomes import method_names, outcomes
from napari_dama.evaluate.pictures import draw_pictures
from napari_dama.evaluate.report import FILES
from napari_dama.slides.region import Region

HIT, MISS, FALSE = "#56b4e9", "#f0e442", "#d55e00"


def _share(file: Path, colour: str) -> float:
    """Share of pixels of about this colour."""
    from matplotlib.colors import to_rgb
    from matplotlib.image import imread

    picture = imread(file)[..., :3]
    return float(np.isclose(picture, to_rgb(colour), atol=0.04).all(axis=2).mean())


def _field(folder: Path, pixel_um: float | None = 0.5) -> tuple[Path, Path, Path, Path]:
    """A slide of two markers, the truth, and predictions of two methods: one perfect, one that is not."""
    labels = crowded(3)
    image = np.stack([np.full(labels.shape, 40), 100 + 50 * (labels > 0)]).astype(np.uint16)
    metadata: dict[str, Any] = {"axes": "CYX", "Channel": {"Name": ["CD8", "DAPI"]}}
    if pixel_um is not None:
        metadata |= {"PhysicalSizeX": pixel_um, "PhysicalSizeY": pixel_um}
    tifffile.imwrite(folder / "field.ome.tif", image, ome=True, photometric="minisblack", metadata=metadata)
    tifffile.imwrite(folder / "field_truth.tif", labels)
    tifffile.imwrite(folder / "field_good.tif", labels)
    tifffile.imwrite(folder / "field_bad.tif", mistaken(labels, 3))
    return (
        folder / "field.ome.tif",
        folder / "field_truth.tif",
        folder / "field_good.tif",
        folder / "field_bad.tif",
    )


@pytest.mark.parametrize("iou", [0.3, 0.75])
@pytest.mark.parametrize("seed", range(3))
def test_outcomes_equal_loops(seed: int, iou: float) -> None:
    truth, pred = crowded(seed), mistaken(crowded(seed), seed)
    region = Region(20, 70, 10, 60)
    found = outcomes(truth, pred, region, name="a", iou=iou)
    overlaps = []
    for t in np.unique(truth)[1:]:
        for p in np.unique(pred)[1:]:
            both = ((truth == t) & (pred == p)).sum()
            share = both / ((truth == t) | (pred == p)).sum()
            if share >= iou:
                overlaps.append((-share, int(t), int(p)))
    found_true: dict[int, int] = {}
    for _, t, p in sorted(overlaps):
        if t not in found_true and p not in found_true.values():
            found_true[t] = p
    seen = set(np.unique(truth[region.slices]).tolist()) - {0}
    shown = set(np.unique(pred[region.slices]).tolist()) - {0}
    assert set(found.misses.tolist()) == seen - set(found_true)
    assert set(found.hits.tolist()) == shown & set(found_true.values())
    assert set(found.false_finds.tolist()) == shown - set(found_true.values())
    assert found.n_hits + len(found.misses) == len(seen) and 0 < found.f1 < 1


def test_colours_tell_what_a_method_did(tmp_path: Path) -> None:
    image, truth, good, bad = _field(tmp_path)
    report = draw_pictures(image, truth, [good, bad], tmp_path / "both.png")
    assert [method.name for method in report.methods] == ["good", "bad"]
    assert report.channel == "DAPI" and report.region == Region(0, 90, 0, 100) and not report.notes
    assert report.methods[0].f1 == 1 and 0 < report.methods[1].f1 < 1
    draw_pictures(image, truth, [good], tmp_path / "good.png")
    draw_pictures(image, truth, [bad], tmp_path / "bad.png")
    assert _share(tmp_path / "good.png", HIT) > 0.005
    for colour in (MISS, FALSE):  # the legend has a little of it
        assert _share(tmp_path / "good.png", colour) < 0.002 < 0.003 < _share(tmp_path / "bad.png", colour)
    assert "bad" in report.describe()[2] and report.to_json()["methods"][0]["misses"] == 0


def test_a_miss_and_a_false_find_alone(tmp_path: Path) -> None:
    image, truth, *_ = _field(tmp_path)
    labels = tifffile.imread(truth)
    empty = np.zeros_like(labels)
    nothing = draw_pictures(image, truth, [empty], tmp_path / "nothing.png")
    assert nothing.methods[0].to_json() == {
        "name": "method 1",
        "hits": 0,
        "misses": len(np.unique(labels)) - 1,
        "false_finds": 0,
        "f1": 0.0,
    }
    assert _share(tmp_path / "nothing.png", MISS) > 0.005 > _share(tmp_path / "nothing.png", FALSE)
    invented = draw_pictures(image, empty, [labels], tmp_path / "invented.png")
    assert invented.n_truth == 0 and _share(tmp_path / "invented.png", FALSE) > 0.005


@pytest.mark.parametrize("ending", ["pdf", "svg"])
def test_vector_files_and_a_scale_bar(tmp_path: Path, ending: str) -> None:
    image, truth, good, bad = _field(tmp_path)
    file = tmp_path / f"p.{ending}"
    draw_pictures(image, truth, [good, bad], file, region=Region(0, 60, 0, 200), title="Two methods")
    content = file.read_bytes()
    assert content[:5] in (b"%PDF-", b"<?xml") and len(content) > 5000
    if ending == "svg":
        text = content.decode()
        assert all(word in text for word in ("Two methods", "µm", "missed true cell", "good", "DAPI"))
        draw_pictures(image, truth, [good, bad], tmp_path / "again.svg", region=Region(0, 60, 0, 200))
        image, truth, *_ = _field(tmp_path, pixel_um=None)
        report = draw_pictures(image, truth, [bad], tmp_path / "unscaled.svg", channel="cd8")
        assert "µm" not in (tmp_path / "unscaled.svg").read_text(encoding="utf-8")
        assert "pixel size is not known" in report.notes[0] and report.channel == "CD8"


def test_the_middle_is_shown_of_a_large_image(tmp_path: Path) -> None:
    labels = np.zeros((700, 600), np.int32)
    labels[300:320, 300:320] = 1
    report = draw_pictures(labels[None].astype(np.uint8), labels, [labels], tmp_path / "p.png")
    assert str(report.region) == "94:606,44:556" and report.n_truth == 1
    assert any("middle" in note for note in report.notes) and any("nuclear" in note for note in report.notes)


def test_names_are_short_and_differ() -> None:
    assert method_names(["a/R1_X3_deepcell.tif", "a/R1_X3_cellpose.ome.tif"]) == ["deepcell", "cellpose"]
    assert method_names(["R1_X3.tif"]) == ["R1_X3"]
    assert method_names(["a/result", "b/result"]) == ["a/result", "b/result"]
    assert method_names([np.zeros(1), "x.npy"]) == ["method 1", "x"]
    assert method_names(["run_1.tif", "run_12.tif"]) == ["1", "12"]


def test_bad_pictures_are_refused(tmp_path: Path) -> None:
    image, truth, good, bad = _field(tmp_path)
    file = tmp_path / "p.png"
    with pytest.raises(SettingsError, match="no prediction"):
        draw_pictures(image, truth, [], file)
    with pytest.raises(SettingsError, match="1 names and 2 predictions"):
        draw_pictures(image, truth, [good, bad], file, names=["a"])
    with pytest.raises(SettingsError, match=r"outside of the slide.*\(90, 100\)"):
        draw_pictures(image, truth, [good], file, region=Region(900, 950, 0, 50))
    with pytest.raises(SettingsError, match="CD8, DAPI"):
        draw_pictures(image, truth, [good], file, channel="NeuN")
    with pytest.raises(SettingsError, match="above 0 and at most 1"):
        draw_pictures(image, truth, [good], file, iou=75)
    with pytest.raises(SlideError, match=r"the prediction is \(90, 99\) and the slide .* is \(90, 100\)"):
        draw_pictures(image, truth, [tifffile.imread(good)[:, 1:]], file)
    with pytest.raises(OutputError, match=r"\.png, \.pdf or \.svg"):
        draw_pictures(image, truth, [good], tmp_path / "p.jpg")
    assert not file.exists()
    file.write_bytes(b"mine")
    with pytest.raises(OutputError, match="exists already"):
        draw_pictures(image, truth, [good], file)
    assert file.read_bytes() == b"mine"


@pytest.fixture
def run() -> Callable[..., Any]:
    """Run a command in this process; the exit code is checked."""

    def go(*words: object, code: int = 0) -> Any:
        result = CliRunner().invoke(app, ["evaluate", *(str(word) for word in words)])
        assert result.exit_code == code, f"{result.exit_code}: {result.output}{result.exception!r}"
        return result

    return go


def test_pictures_on_the_command_line(run: Callable[..., Any], tmp_path: Path) -> None:
    image, truth, good, bad = _field(tmp_path)
    out = tmp_path / "side.png"
    words = ("pictures", "--image", image, "--truth", truth, "--pred", good, bad, "-o", out)
    facts = json.loads(run(*words, "--names", "A, B", "--iou", 0.5, "--region", "0:50,0:60", "--json").stdout)
    assert [method["name"] for method in facts["methods"]] == ["A", "B"] and facts["region"] == "0:50,0:60"
    assert facts["methods"][0]["f1"] == 1 and out.stat().st_size > 5000
    assert "--overwrite" in run(*words, code=1).stderr
    assert "written" in run(*words, "--overwrite").stdout


def test_curves_on_the_command_line(run: Callable[..., Any], tmp_path: Path) -> None:
    _, truth, good, bad = _field(tmp_path)
    ids = np.unique(tifffile.imread(bad))[1:]
    pd.DataFrame({"label": ids, "score": ids / 100}).to_csv(bad.with_suffix(".csv"), index=False)
    out, plot = tmp_path / "curves", tmp_path / "coco.png"
    words = ("segments", "--truth", truth, "--pred", bad, "--curves", out)
    facts = json.loads(run(*words, "--plot", plot, "--max-detections", 20, "--json").stdout)
    assert facts["limited"] and facts["max_detections"] == facts["n_counted"] == 20 and plot.is_file()
    masks = facts["curves"]["masks"]
    assert masks["errors"]["C50"] == pytest.approx(facts["AP50"]) == pytest.approx(masks["ap_by_iou"]["0.5"])
    assert sorted(path.name for path in out.iterdir()) == sorted(FILES)
    assert "--overwrite" in run(*words, code=1).stderr
    text = run(*words, "--overwrite").stdout
    assert "AP by IoU  0.1" in text and "BG" in text and "detections not limited" in text
    assert "type column" in run(*words, "--overwrite", "--by-type", code=2).stderr
    assert "--curves" in run(*words[:5], "--by-type", code=2).stderr
    unscored = run("segments", "--truth", truth, "--pred", good, "--curves", tmp_path / "other").stdout
    assert "one point" in unscored
