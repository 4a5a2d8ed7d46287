from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_dama.errors import Interrupted, OutputError, SettingsError
from napari_dama.models.build import brain_card, new_model
from napari_dama.models.model import Model
from napari_dama.predict.analyse import analyse
from napari_dama.predict.embeddings import (
    EMBEDDINGS,
    EMBEDDINGS_LABELS,
    embed_cells,
    has_embeddings,
    is_current,
    read_embeddings,
)
from napari_dama.predict.explain import reconstruct
from napari_dama.predict.progress import Progress
from napari_dama.predict.result import ResultFolder
from napari_dama.predict.similar import Neighbours
from napari_dama.slides.intensity import IntensityStats
from napari_dama.slides.region import Region
from stand_in import NucleusModel

pytestmark = pytest.mark.usefixtures("one_thread")
CORNER = Region(100, 360, 480, 900)


@pytest.fixture(scope="module")
def network() -> Model:
    """Random weights: vectors are compared with the same network, and mean nothing."""
    return new_model(brain_card("untrained", tasks=("types", "reconstruct")))


@pytest.fixture(scope="module")
def analysed(cells_tiff: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished result of a corner of the slide, in several tiles; do not change it."""
    out = tmp_path_factory.mktemp("results") / "done"
    analyse(cells_tiff, out, model=NucleusModel(), region=CORNER, device="cpu", tile_px=256)  # type: ignore[arg-type]
    return out


@pytest.fixture
def result(analysed: Path, tmp_path: Path) -> Path:
    shutil.copytree(analysed, tmp_path / "result")
    return tmp_path / "result"


def test_each_cell_gets_the_vector_of_its_own_crop(result: Path, cells_tiff: Path, network: Model) -> None:
    import torch

    assert not has_embeddings(result)
    embed_cells(result, model=network)
    labels, vectors = read_embeddings(result)

    found = ResultFolder.open(result)
    cells = found.cells()
    assert has_embeddings(result) and labels.tolist() == cells["label"].tolist()
    assert vectors.dtype == np.float32 and len(vectors) == len(cells) > 50
    stats = IntensityStats.from_json(found.run["intensity"])
    for row in (0, len(cells) // 2, len(cells) - 1):  # the slow way: one crop, cut from the slide by itself
        at = (float(cells["y"][row]), float(cells["x"][row]))
        crop = reconstruct(cells_tiff, at=at, model=network, stats=stats).input
        slow = network.embed(torch.from_numpy(crop)[None])[0].numpy()
        np.testing.assert_allclose(vectors[row], slow, atol=4e-3, rtol=4e-3)
    record = json.loads((result / "run.json").read_text())["embeddings"]
    assert record["model"] == "untrained" and record["shape"] == list(vectors.shape)
    assert np.load(result / EMBEDDINGS, allow_pickle=False).dtype == np.float16


def test_stopped_work_leaves_what_was_there(result: Path, network: Model) -> None:
    seen: list[Progress] = []
    with pytest.raises(Interrupted, match="no embeddings"):
        embed_cells(result, model=network, progress=seen.append, stop=lambda: len(seen) > 0)
    assert seen[0].stage == "embeddings" and not (result / EMBEDDINGS).exists() and not has_embeddings(result)

    before = embed_cells(result, model=network)
    with pytest.raises(Interrupted):
        embed_cells(result, model=network, stop=lambda: True)
    np.testing.assert_allclose(read_embeddings(result).vectors, before.vectors)


def test_vectors_that_do_not_belong_are_refused(result: Path, network: Model, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="no embeddings"):
        read_embeddings(result)
    labels = embed_cells(result, model=network).labels
    assert is_current(result, labels[::-1]) and not is_current(result, labels[1:])
    np.save(result / EMBEDDINGS_LABELS, labels[1:])
    with pytest.raises(OutputError, match="do not fit"):
        read_embeddings(result)
    np.save(result / EMBEDDINGS, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(OutputError, match="cannot be read"):
        read_embeddings(result)


def test_a_lost_slide_and_a_foreign_one_are_named(result: Path, network: Model, tmp_path: Path) -> None:
    run = json.loads((result / "run.json").read_text())
    moved = Path(run["slide"]["path"])
    run["slide"]["path"] = str(tmp_path / "gone.ome.tif")
    (result / "run.json").write_text(json.dumps(run))
    with pytest.raises(SettingsError, match=r"not at .*gone"):
        embed_cells(result, model=network)
    assert len(embed_cells(result, slide=moved, model=network).labels) == len(
        ResultFolder.open(result).cells()
    )
    with pytest.raises(SettingsError, match="cannot do"):
        embed_cells(result, slide=moved, model=new_model(brain_card("outlines", tasks=("segments",))))
    other = tmp_path / "other.npy"
    np.save(other, np.zeros((7, 64, 64), np.uint16))
    with pytest.raises(SettingsError, match="give the slide that was analysed"):
        embed_cells(result, slide=other, model=network)


def test_analyse_keeps_vectors_when_asked_and_overwrites_them(cells_tiff: Path, tmp_path: Path) -> None:
    class Embedding(NucleusModel):
        def embed(self, crops: Any) -> Any:
            self.calls += 1
            return crops[:, :, 44:84, 44:84].mean(dim=(2, 3))

    out, model = tmp_path / "out", Embedding()
    options: dict[str, Any] = {"model": model, "region": Region(0, 200, 0, 200), "tile_px": 256}
    result = analyse(cells_tiff, out, embeddings=True, **options)
    labels, vectors = read_embeddings(out)
    assert labels.tolist() == result.cells()["label"].tolist() and vectors.shape[1] == 7
    calls = model.calls
    analyse(cells_tiff, out, embeddings=True, resume=True, **options)
    assert model.calls == calls  # they are there already
    analyse(cells_tiff, out, overwrite=True, **options)
    assert not has_embeddings(out) and not (out / EMBEDDINGS).exists()
    analyse(cells_tiff, out, embeddings=True, resume=True, **options)
    assert has_embeddings(out)


def test_nearest_cells_are_those_of_a_slow_search() -> None:
    random = np.random.default_rng(0)
    vectors = (random.normal(size=(200, 12)) + 3).astype(np.float32)
    labels = random.permutation(1000)[:200] + 1
    centred = vectors.astype(float) - vectors.mean(axis=0)

    found = Neighbours(labels, vectors).of(int(labels[17]), 9)

    distance = []
    for row, vector in enumerate(centred):
        cosine = vector @ centred[17] / np.linalg.norm(vector) / np.linalg.norm(centred[17])
        distance.append((1 - cosine, int(labels[row])))
    expected = sorted(entry for entry in distance if entry[1] != labels[17])[:9]
    assert [label for label, _ in found] == [label for _, label in expected]
    np.testing.assert_allclose([far for _, far in found], [far for far, _ in expected], atol=1e-5)
    assert len(Neighbours(labels[:4], vectors[:4]).of(int(labels[0]), 9)) == 3
    with pytest.raises(SettingsError, match="no cell 0"):
        Neighbours(labels, vectors).of(0, 3)
