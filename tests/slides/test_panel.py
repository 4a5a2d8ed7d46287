"""Which channel serves which marker."""

from __future__ import annotations

import json

import pytest

from napari_dama.errors import PanelError, SettingsError
from napari_dama.slides.panel import BRAIN7, Marker, Panel, canonical, colour_of, match, parse_map


@pytest.mark.parametrize(
    ("name", "marker"),
    [
        ("DAPI", "DAPI"), ("dapi", "DAPI"), ("Hoechst 33342", "DAPI"), ("DAPI_1", "DAPI"), ("Cell 1: DAPI", "DAPI"),
        ("nucleus", "DAPI"), ("Nuclei", "DAPI"), ("nuclear", "DAPI"), ("dsDNA", "DAPI"), ("DRAQ5", "DAPI"),
        ("HH3", "DAPI"), ("Ch1 (DAPI)", "DAPI"), ("cyc001_DAPI", "DAPI"), ("DAPI 405 nm", "DAPI"), ("DAPI (2)", "DAPI"),
        ("C1-DAPI", "DAPI"), ("DAPI-R1", "DAPI"),
    ],
)  # fmt: skip
def test_names_of_the_nucleus(name: str, marker: str) -> None:
    assert match([name], BRAIN7).indices[BRAIN7.names.index(marker)] == 0


@pytest.mark.parametrize(
    ("name", "marker"),
    [
        ("Histones", "Histones"), ("histone", "Histones"), ("H3K9Ac", "Histones"), ("pan-histone", "Histones"),
        ("NeuN", "NeuN"), ("RBFOX3", "NeuN"), ("NeuN-AF488", "NeuN"), ("anti NeuN", "NeuN"), ("AF488 (NeuN)", "NeuN"),
        ("S100", "S100"), ("S100B", "S100"), ("S-100 β", "S100"), ("GFAP", "S100"), ("Olig2", "Olig2"),
        ("OLIG-2", "Olig2"), ("Iba1", "Iba1"), ("IBA-1", "Iba1"), ("AIF1", "Iba1"), ("Iba1_Cy5", "Iba1"),
        ("RECA1", "RECA1"), ("RECA-1", "RECA1"), ("CD31", "RECA1"), ("PECAM-1", "RECA1"), ("CD31 Opal 520", "RECA1"),
    ],
)  # fmt: skip
def test_names_of_the_others(name: str, marker: str) -> None:
    found = match(["DAPI", name], BRAIN7)
    assert found.indices[BRAIN7.names.index(marker)] == 1
    assert sum(found.present) == 2


@pytest.mark.parametrize(
    "name",
    [
        "ch0",
        "Cy3",
        "CH_19",
        "Alexa 594",
        "FITC",
        "membrane",
        "CD3",
        "CD3_1",
        "S100A8",
        "channel 3",
        "CK-EPCAM",
        "1",
        "",
    ],
)
def test_names_that_mean_no_marker(name: str) -> None:
    found = match(["DAPI", name], BRAIN7)
    assert sum(found.present) == 1
    with pytest.raises(PanelError, match="nuclear marker DAPI"):
        match([name], BRAIN7)


def test_canonical_keeps_what_would_be_lost() -> None:
    assert canonical("Iba-1") == canonical("IBA1") == "iba1"
    assert canonical("Cy3") == "cy3"
    assert canonical("CD3_1") != canonical("CD31")
    assert canonical("NeuN (AF 488)") == "neun"


def test_exact_wins_then_the_order_of_other_names() -> None:
    assert match(["CD31", "RECA1", "nucleus", "DAPI"], BRAIN7).indices == (3, None, None, None, None, None, 1)
    assert match(["nuclei", "Hoechst", "GFAP", "S100B"], BRAIN7).indices == (
        1,
        None,
        None,
        3,
        None,
        None,
        None,
    )
    assert match(["DAPI_2", "DAPI"], BRAIN7).indices[0] == 1


def test_what_was_left_is_said() -> None:
    found = match(["DAPI", "DAPI_2", "CD31", "PECAM1", "Ki67"], BRAIN7)
    text = " ".join(found.describe())
    assert "'DAPI_2' could also be DAPI" in text
    assert "'PECAM1' could also be RECA1" in text
    assert "Ki67" in text and "NeuN: not on this slide" in text
    assert found.left == (("DAPI_2", "DAPI"), ("PECAM1", "RECA1"))
    json.dumps(found.to_json())


def test_a_channel_serves_one_marker_and_the_nucleus_comes_first() -> None:
    both = match(["DAPI", "HH3"], BRAIN7)
    assert both.indices[:2] == (0, 1)
    for name in ("HH3", "Histones", "H3K9Ac"):
        alone = match([name], BRAIN7)
        assert alone.indices[:2] == (0, None)
    assert match(["dsDNA", "H3K9Ac"], BRAIN7).indices[:2] == (0, 1)


def test_chosen_beats_every_rule() -> None:
    markers = ["ch0", "ch1", "DAPI"]
    found = match(markers, BRAIN7, chosen={"dapi": "ch0", "NeuN": "CH1", "S100": ""})
    assert found.indices == (0, None, 1, None, None, None, None)
    assert [m.how for m in found.matches][:4] == ["chosen", "absent", "chosen", "chosen"]
    assert any("'DAPI' could" in line or "Not used by the model: DAPI" in line for line in found.describe())


def test_wrong_choices_list_both_sides() -> None:
    for chosen in ({"Nope": "DAPI"}, {"NeuN": "Nope"}):
        with pytest.raises(PanelError, match=r"Nope.*RECA1.*Ki67"):
            match(["DAPI", "Ki67"], BRAIN7, chosen=chosen)
    with pytest.raises(PanelError, match="one marker only"):
        match(["DAPI"], BRAIN7, chosen={"DAPI": "DAPI", "NeuN": "DAPI"})
    with pytest.raises(PanelError, match="own choice"):
        match(["DAPI"], BRAIN7, chosen={"DAPI": "none"})


def test_no_nucleus_names_what_is_accepted_and_what_is_there() -> None:
    with pytest.raises(PanelError, match=r"Hoechst.*ch0, Cy3.*DAPI=ch0"):
        match(["ch0", "Cy3"], BRAIN7)
    assert match(["x"], Panel("any", (Marker("CD4"),))).present == (False,)


def test_parse_map() -> None:
    assert parse_map("DAPI=nucleus, NeuN=CH_7,S100=-,Iba1=none,Olig2=") == {
        "DAPI": "nucleus", "NeuN": "CH_7", "S100": "", "Iba1": "", "Olig2": "",
    }  # fmt: skip
    assert parse_map("DAPI=a, b,NeuN=c=d") == {"DAPI": "a, b", "NeuN": "c=d"}
    for text in ("", "DAPI", "=x", "DAPI=a,DAPI=b"):
        with pytest.raises(SettingsError, match="channel map"):
            parse_map(text)


def test_colours_are_stable_and_valid() -> None:
    assert colour_of("Hoechst") == colour_of("DAPI") == BRAIN7.markers[0].colour
    assert colour_of("CD8") == colour_of("cd-8")
    assert all(len(colour_of(name)) == 7 and colour_of(name)[0] == "#" for name in ("Ki67", "", "Cy3"))
    assert len({marker.colour for marker in BRAIN7.markers}) == 7
