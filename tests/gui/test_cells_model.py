"""The evented model of a result's cells; no window."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from napari_dama.errors import SettingsError
from napari_dama.gui.cells_model import CellsModel

CLASSES = {"Neuron": "#ff0000", "Glia": "#00ff00"}


def table(n: int = 5, *, typed: bool = True) -> pd.DataFrame:
    labels = np.arange(1, n + 1) * 3
    cells = pd.DataFrame({"label": labels, "y": labels * 1.0, "x": labels * 2.0, "area_um2": 50.0})
    return cells.assign(type=["Neuron", "Glia"] * (n // 2) + ["Neuron"] * (n % 2)) if typed else cells


@pytest.fixture
def cells() -> CellsModel:
    model = CellsModel()
    model.open(table(), CLASSES)
    return model


def test_rows_are_found_by_label_whatever_the_gaps(cells: CellsModel) -> None:
    assert cells.rows_of([3, 15, 4, 0, -2, 99]).tolist() == [0, 4, -1, -1, -1, -1]
    assert cells.type_of(6) == "Glia" and cells.type_of(7) == "cell"


def test_setting_types_says_who_changed_and_what_they_were(cells: CellsModel) -> None:
    heard = []
    cells.types_changed.connect(lambda labels: heard.append(labels.tolist()))
    assert cells.set_types([3, 6], "Glia").tolist() == ["Neuron", "Glia"]
    assert heard == [[3]]  # 6 was glia already
    cells.set_types([3], ["Neuron"])
    assert cells.types.tolist() == ["Neuron", "Glia"] * 2 + ["Neuron"]
    assert cells.predicted.tolist() == cells.types.tolist()
    assert cells.counts() == {"Neuron": 3, "Glia": 2}


def test_what_cannot_be_is_refused_and_changes_nothing(cells: CellsModel) -> None:
    with pytest.raises(SettingsError, match="no cell 4"):
        cells.set_types([3, 4], "Glia")
    with pytest.raises(SettingsError, match="no class 'Ghost'"):
        cells.set_types([3], "Ghost")
    for name in ("", "cell", " Glia "):
        with pytest.raises(SettingsError):
            cells.add_class(name)
    assert cells.type_of(3) == "Neuron"


def test_a_result_without_types_can_be_typed_by_hand() -> None:
    model = CellsModel()
    model.open(table(typed=False), {})
    assert not model.typed and "type" not in model.frame
    model.add_class("Tumour")
    model.set_types([3], "Tumour")
    assert model.typed and model.frame["type"].tolist() == ["Tumour", *["cell"] * 4]
    assert model.predicted.tolist() == ["cell"] * 5


def test_renaming_a_class_takes_its_cells_along(cells: CellsModel) -> None:
    cells.rename_class("Glia", "Microglia")
    assert list(cells.classes) == ["Neuron", "Microglia"]
    assert cells.counts() == {"Neuron": 3, "Microglia": 2}
    assert cells.classes["Microglia"] == "#00ff00"


def test_rows_are_replaced_and_keep_their_types(cells: CellsModel) -> None:
    cells.set_types([9], "Glia")
    cells.select([9, 12])
    heard = []
    cells.rows_changed.connect(lambda labels: heard.append(labels.tolist()))
    new = pd.DataFrame({"label": [20, 9], "y": [1.0, 2.0], "x": [3.0, 4.0], "area_um2": [7.0, 8.0]})
    cells.replace_rows([12], new)
    assert cells.labels.tolist() == [3, 6, 9, 15, 20]
    assert cells.type_of(9) == "Glia" and cells.type_of(20) == "cell"
    assert cells.table.loc[cells.rows_of(9)[0], "area_um2"] == 8.0
    assert heard == [[9, 12, 20]]
    assert cells.selected.tolist() == [9]


def test_selection_is_of_cells_that_are_there(cells: CellsModel) -> None:
    heard = []
    cells.selection_changed.connect(lambda: heard.append(cells.selected.tolist()))
    cells.select([6, 77, 3])
    cells.select([6, 3])
    cells.select([])
    assert heard == [[6, 3], []]


def test_only_an_empty_class_is_deleted_and_renaming_goes_through(cells: CellsModel) -> None:
    cells.add_class("Odd")
    cells.delete_class("Odd")
    with pytest.raises(SettingsError, match="2 cells are of class 'Glia'"):
        cells.delete_class("Glia")
    with pytest.raises(SettingsError, match="no class 'Odd'"):
        cells.delete_class("Odd")
    cells.rename_class("Glia", "Microglia")
    assert cells.predicted.tolist() == ["Neuron", "Microglia"] * 2 + ["Neuron"]


def test_a_cell_that_comes_back_knows_what_the_model_said(cells: CellsModel) -> None:
    row = cells.frame.iloc[[1]]
    cells.replace_rows([6], row.iloc[:0])
    cells.replace_rows([], row, ["Neuron"])
    assert cells.type_of(6) == "Neuron" and cells.predicted[1] == "Glia"


def test_closing_empties(cells: CellsModel) -> None:
    cells.close()
    assert not cells.is_open and len(cells.labels) == 0 and cells.rows_of([3]).tolist() == [-1]
