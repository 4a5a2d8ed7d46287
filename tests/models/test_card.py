"""Cards and weights fit each other, or a message says where they do not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file, save_file

from napari_dama.errors import ModelError, OutputError
from napari_dama.models.build import brain_card, new_model, save_model
from napari_dama.models.card import CARD, WEIGHTS, Card
from napari_dama.models.model import Model
from napari_dama.models.shelf import broken_models, list_models, load_card, load_model


def saved(folder: Path, **changes: object) -> Path:
    card = brain_card("probe").model_copy(update=changes)
    save_model(new_model(card, seed=1), folder)
    return folder


def edit(folder: Path, **changes: object) -> None:
    facts = json.loads((folder / CARD).read_text())
    (folder / CARD).write_text(json.dumps(facts | changes))


def test_a_model_comes_back_as_it_was(tmp_path: Path) -> None:
    model = new_model(brain_card("probe"), seed=1)
    save_model(model, tmp_path / "m")
    again = load_model(tmp_path / "m")
    assert again.card.model_dump() == model.card.model_dump() and again.card.path == tmp_path / "m"
    loaded = again.state()
    for name, value in model.state().items():
        assert torch.allclose(loaded[name].float(), value.float(), atol=1e-3), name
    x = torch.rand(1, 7, 128, 128)
    assert again.segment_maps(x).shape == (1, 2, 128, 128)
    assert again.type_probabilities(x).shape == (1, 5)
    assert again.embed(x).shape == (1, 96)
    found = again.reconstruct(x, seed=3)
    assert found.hidden_random.shape == found.error_adaptive.shape == (1, 64)
    assert torch.equal(found.image_random, again.reconstruct(x, seed=3).image_random)


def test_random_weights_follow_their_seed_alone() -> None:
    card = brain_card("probe", tasks=("types",))
    torch.manual_seed(5)
    one = new_model(card, seed=1).state()
    before = torch.rand(1)
    torch.manual_seed(5)
    torch.rand(1)
    torch.manual_seed(5)
    two = new_model(card, seed=1).state()
    assert torch.equal(before, torch.rand(1))  # global randomness is left as it was
    assert all(torch.equal(value, two[name]) for name, value in one.items())
    other = new_model(card, seed=2).state()
    assert any(not torch.equal(value, other[name]) for name, value in one.items())


def test_absent_markers_do_not_come_back_in_a_reconstruction() -> None:
    model = new_model(brain_card("probe", tasks=("reconstruct",)))
    x = torch.rand(2, 7, 128, 128)
    x[0, 3] = 0
    found = model.reconstruct(x)
    assert not found.image_random[0, 3].any() and found.image_random[1, 3].any()


def test_nothing_is_overwritten_unasked(tmp_path: Path) -> None:
    model = new_model(brain_card("probe", tasks=("types",)))
    save_model(model, tmp_path / "m")
    with pytest.raises(OutputError, match="m exists; choose another folder"):
        save_model(model, tmp_path / "m")
    save_model(model, tmp_path / "m", overwrite=True)
    assert sorted(path.name for path in (tmp_path / "m").iterdir()) == [CARD, WEIGHTS]


def test_the_first_tensor_of_another_shape_is_named(tmp_path: Path) -> None:
    folder = saved(tmp_path / "m", tasks=["types"])
    edit(folder, classes=["a", "b"], class_colours=[])
    with pytest.raises(ModelError, match=r"types\.head\.weight is \(5, 96\), the card asks for \(2, 96\)"):
        load_model(folder)


def test_a_tensor_too_few_or_too_many_is_named(tmp_path: Path) -> None:
    folder = saved(tmp_path / "m", tasks=["types"])
    state = load_file(folder / WEIGHTS)
    norm = state.pop("types.norm.weight")
    save_file(state, folder / WEIGHTS)
    with pytest.raises(ModelError, match=r"lacks types\.norm\.weight"):
        load_model(folder)
    save_file(state | {"types.norm.weight": norm, "types.extra": norm.clone()}, folder / WEIGHTS)
    with pytest.raises(ModelError, match=r"has types\.extra, which no layer takes"):
        load_model(folder)


def test_weights_that_are_missing_or_damaged(tmp_path: Path) -> None:
    folder = saved(tmp_path / "m", tasks=["types"])
    whole = (folder / WEIGHTS).read_bytes()
    for broken in (whole[: len(whole) // 2], b"", b"\x80\x04 a pickle"):
        (folder / WEIGHTS).write_bytes(broken)
        with pytest.raises(ModelError, match=f"{WEIGHTS} is damaged"):
            load_model(folder)
    (folder / WEIGHTS).unlink()
    with pytest.raises(ModelError, match=f"has a card but no {WEIGHTS}"):
        load_model(folder)
    with pytest.raises(ModelError, match="made in memory"):
        Model.load(brain_card("probe"))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"panel": ["DAPI", "DAPI"]}, "names a marker twice"),
        ({"nuclear": ["Hoechst"]}, "nuclear names Hoechst, which the panel lacks"),
        ({"classes": ["one"]}, "at least two classes"),
        ({"class_colours": ["#ffffff"]}, "5 classes but 1 colours"),
        ({"type_markers_min": 9}, "9 exceeds 5"),
        ({"pixel_um": 0}, "pixel_um: .*greater than 0.01"),
        ({"name": "../evil"}, "name: "),
        ({"tasks": ["sing"]}, r"tasks\.0: "),
        ({"colour": "red"}, "colour: [Ee]xtra"),
        ({"format": 2}, "format: "),
    ],
)
def test_a_wrong_card_names_file_and_field(tmp_path: Path, changes: dict[str, object], says: str) -> None:
    brain_card("probe").save(tmp_path)
    edit(tmp_path, **changes)
    with pytest.raises(ModelError, match=rf"card\.json: .*{says}|card\.json: {says}"):
        Card.read(tmp_path)


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"\xff\xfe"])
def test_a_card_that_is_no_json(tmp_path: Path, text: bytes) -> None:
    (tmp_path / CARD).write_bytes(text)
    with pytest.raises(ModelError, match=r"card\.json: "):
        Card.read(tmp_path)


def test_no_card_at_all(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"is no model: it has no card\.json"):
        Card.read(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(ModelError, match="cannot be read"):
        load_card(tmp_path / "file")


def test_a_card_in_memory_is_checked_too() -> None:
    with pytest.raises(ValidationError):
        brain_card("")


def test_a_model_says_what_it_cannot_do() -> None:
    model = new_model(brain_card("probe", tasks=("types",)))
    with pytest.raises(ModelError, match="'probe' cannot do segments: it was made for types"):
        model.segment_maps(torch.zeros(1, 7, 128, 128))


def test_the_shelf_lists_models_and_names_broken_ones(shelf: Path) -> None:
    saved(shelf / "mine", tasks=["types"], name="mine")
    (shelf / "broken").mkdir(parents=True)
    (shelf / "broken" / CARD).write_text("{")
    (shelf / "notes").mkdir()
    assert "mine" in [card.name for card in list_models()]
    assert list(broken_models()) == [shelf / "broken"]
    assert load_card("mine").path == shelf / "mine"
    with pytest.raises(ModelError, match=r"no model named 'absent' .*there are: .*mine"):
        load_card("absent")


def test_panel_of_a_card_knows_aliases_and_nuclear_markers() -> None:
    panel = brain_card("probe").to_panel()
    assert panel.markers[0].nuclear and "Hoechst" in panel.markers[0].aliases
    strange = brain_card("x", tasks=("reconstruct",)).model_copy(
        update={"panel": ["Xyz", "Abc"], "nuclear": ["Abc"]}
    )
    assert [(m.name, m.nuclear) for m in strange.to_panel().markers] == [("Xyz", False), ("Abc", True)]
