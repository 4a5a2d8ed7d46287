"""The confusion matrix at the width of a narrow dock, with few classes and with many."""

from __future__ import annotations

from typing import Any

import pytest
from qtpy.QtCore import QPoint

from napari_dama.gui.confusion_file import Confusion

pytestmark = pytest.mark.gui


def matrix(count: int) -> Confusion:
    names = tuple(f"type {i} with a long name" for i in range(count))
    counts = tuple(
        tuple(90 if row == column else row + column for column in range(count)) for row in range(count)
    )
    return Confusion(names, counts, "step 20")


@pytest.fixture
def view(qtbot: Any) -> Any:
    from napari_dama.gui.confusion import ConfusionView

    widget = ConfusionView()
    qtbot.addWidget(widget)
    widget.resize(300, 100)
    widget.show()
    return widget


@pytest.mark.parametrize("count", [2, 5, 9, 15])
def test_every_field_can_be_reached_and_says_what_it_means(view: Any, qtbot: Any, count: int) -> None:
    from napari_dama.gui.confusion import LEAST_SIDE_PX, ROW_PX

    view.show_matrix(matrix(count))
    qtbot.wait(20)
    assert view.width() == 300
    places, bar = view.places, view.horizontalScrollBar()
    assert places.side >= LEAST_SIDE_PX
    assert view.viewport().height() >= places.head + count * ROW_PX
    assert bar.isVisible() == (count > 6)
    seen = set()
    for shift in {bar.minimum(), bar.maximum()}:
        bar.setValue(shift)
        for x in range(0, view.viewport().width(), 5):
            field = view.field_at(QPoint(x, places.head + ROW_PX // 2))
            if field is not None:
                seen.add(field)
    assert seen >= {(0, 0), (0, count - 1)} and (len(seen) == count or count > 9)
    bar.setValue(bar.maximum())
    last = QPoint(view.viewport().width() - 3, places.head + count * ROW_PX - 3)
    assert view.field_at(last) == (count - 1, count - 1)
    assert view.field_at(QPoint(3, 3)) is None
    assert view.field_text(0, 1).startswith(
        "true type 0 with a long name: 1 taken for type 1 with a long name"
    )
    assert "90 found as such" in view.field_text(0, 0)
    view.grab()


def test_counts_stay_short() -> None:
    from napari_dama.gui.confusion import short_count

    assert [short_count(n) for n in (0, 9999, 12_345, 3_000_000)] == ["0", "9999", "12k", "3M"]
