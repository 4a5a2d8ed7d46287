"""The methods paragraph says what the record and the card say, word for word, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.export.fields import make_result

from napari_dama.errors import OutputError
from napari_dama.export import Watch, export, methods_text
from napari_dama.models.shelf import load_card
from napari_dama.predict.prepare import fingerprint

# the paragraph is one line in the file
GOLDEN = """\
## Cell segmentation and typing

Cells were segmented and typed with napari-dama 0.1.0, an implementation of DAMA [1] for napari [2] (Python \
3.11.7, PyTorch 2.14.1 [3], scikit-image 0.26.0 [4]) on a CPU in float32 precision. The slide (tissue) has 140 \
x 190 pixels (height x width) of 0.5 µm and 3 markers (DAPI, NeuN, CD68). 3 markers fed the model (CD68 as \
Iba1, chosen by the user; the others under their own names); RECA1 was absent. The model was other-model, \
version 3. Each marker was normalised on the slide between its background and its bright level and compressed \
by an arcsinh; the image was resampled to the model's pixel size and analysed in overlapping tiles. Each cell \
has the type of the highest probability. Intensities are means of the raw pixels inside an outline; labels are \
kept as OME-Zarr [5]. 10 cells were found (2 neuron, 2 microglia, 6 astrocyte). The result was then corrected \
by hand (types changed: 4, outlines redrawn: 1); the numbers above are those after correction.

## To be said with it

- The model was not at hand when this was written: add what it was trained on.
- On reading the slide: the first plane was taken.

## References

1. Ly ST, Lin B, Vo HQ, Maric D, Roysam B, Nguyen HV. Multiplexed immunofluorescence brain image analysis \
using self-supervised dual-loss adaptive masked autoencoder. arXiv:2205.05194 (2022).
2. napari contributors. napari: a multi-dimensional image viewer for Python. doi:10.5281/zenodo.3555620.
3. Paszke A, et al. PyTorch: an imperative style, high-performance deep learning library. NeurIPS (2019). \
arXiv:1912.01703.
4. van der Walt S, et al. scikit-image: image processing in Python. PeerJ 2:e453 (2014). \
doi:10.7717/peerj.453.
5. Moore J, et al. OME-NGFF: a next-generation file format for expanding bioimaging data-access strategies. \
Nature Methods 18, 1496-1498 (2021). doi:10.1038/s41592-021-01326-w.
"""


def test_word_for_word(tmp_path: Path) -> None:
    model = {
        "name": "other-model",
        "version": "3",
        "path": None,
        "classes": ["neuron", "microglia", "astrocyte"],
    }
    corrections = {"types changed": 4, "outlines redrawn": 1, "cells deleted": 0}
    notes = ["the first plane was taken."]
    out = make_result(tmp_path, model=model, corrections=corrections, notes=notes)
    watch = Watch()
    file = export(out, "methods", tmp_path / "m.md", watch=watch)
    assert file.read_text(encoding="utf-8") == GOLDEN
    assert "other-model" in watch.notes[0]


def test_the_bundled_model_confesses_its_simulated_training(tmp_path: Path) -> None:
    card = load_card("dama-brain7")
    out = make_result(tmp_path)
    record = json.loads((out / "run.json").read_text(encoding="utf-8"))
    record["settings"]["model_weights"] = fingerprint(card)
    (out / "run.json").write_text(json.dumps(record), encoding="utf-8")
    text = methods_text(out)
    assert "simulated slides" in text and str(card.training["simulated_slides"]) in text
    assert all(limit in text for limit in card.limits)
    assert card.licence in text and record["settings"]["model_weights"] in text
    assert "No correction by hand is recorded." in text
    record["settings"]["model_weights"] = "0123456789abcdef"
    (out / "run.json").write_text(json.dumps(record), encoding="utf-8")
    watch = Watch()
    assert "simulated" not in methods_text(out, watch)  # other weights: the card is not theirs
    assert watch.notes


def test_an_unfinished_run_without_types_says_so(tmp_path: Path) -> None:
    slide = {"name": "tissue", "shape": [3, 140, 190], "markers": ["DAPI"], "pixel_um": None}
    settings = {"pixel_um": 0.5, "region": [0, 100, 10, 90]}
    out = make_result(tmp_path, types=False, state="interrupted", tiles=4, slide=True)
    record = json.loads((out / "run.json").read_text(encoding="utf-8")) | {
        "slide": slide,
        "settings": settings,
    }
    (out / "run.json").write_text(json.dumps(record), encoding="utf-8")
    text = methods_text(out)
    for words in (
        "does not say its pixel size; it was given by the user",
        "Rows 0 to 100 and columns 10 to 90 were analysed",
        "not complete (1 of 4 tiles)",
        "Types were not told (types were not asked for)",
    ):
        assert words in text
    assert "typed with" not in text


def test_a_model_of_ones_own_says_what_it_saw(tmp_path: Path) -> None:
    from napari_dama.models.card import Card

    card = Card(name="mine", tasks=["features"], panel=["DAPI"], nuclear=["DAPI"], parent="dama-brain7")
    card.training = {"crops": 120, "slides": [f"s{n}" for n in range(8)]}
    (tmp_path / "mine").mkdir()
    card.save(tmp_path / "mine")
    out = make_result(tmp_path / "r", model={"name": "mine", "version": "1", "path": str(tmp_path / "mine")})
    text = methods_text(out)
    assert "trained on 120 cells of 8 slides (s0, s1, s2, s3, s4, s5, ...)" in text
    assert "fine-tuned from dama-brain7" in text and "simulated" not in text


def test_endings(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"\.md or \.txt"):
        export(make_result(tmp_path), "methods", tmp_path / "m.docx")
