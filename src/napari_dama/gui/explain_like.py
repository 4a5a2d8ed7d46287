"""Which cells are like this? The nearest cells in the network's features, as crops in the dock and rings on the slide."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from qtpy.QtCore import Qt
from qtpy.QtCore import Signal as QtSignal  # type: ignore[attr-defined]
from qtpy.QtWidgets import QGridLayout, QLabel, QProgressBar, QPushButton, QWidget

from napari_dama.errors import Interrupted, ModelError
from napari_dama.gui import tooltips
from napari_dama.gui.explain_alike import COUNT, Alike, find_alike
from napari_dama.gui.explain_layers import mark_alike
from napari_dama.gui.explain_page import Context, Page
from napari_dama.gui.layers import layers_of
from napari_dama.gui.pictures import Picture
from napari_dama.gui.put_layer import hide
from napari_dama.gui.quiet import load_torch
from napari_dama.gui.style import beside, muted, narrow, wrapped
from napari_dama.gui.work import Report, Stop, Work

if TYPE_CHECKING:
    from napari_dama.gui.explain_ask import Loaded

COLUMNS: Final = 3


class LikePage(Page):
    """More like this.

    Signals
    -------
    cell_asked(label, y, x)
        The user wants to go to a cell.
    """

    cell_asked = QtSignal(int, float, float)

    def __init__(self, context: Context, *, parent: QWidget | None = None) -> None:
        super().__init__(context, parent=parent)
        self.alike: Alike | None = None
        self.work: Work | None = None
        self._known: dict[str, bool] = {}
        self._build()

    def _build(self) -> None:
        self.text = wrapped(QLabel())
        self.compute = narrow(QPushButton("Let the model look at all cells"), tooltips.LIKE_COMPUTE)
        self.search_button = narrow(QPushButton("Find cells like the clicked one"), tooltips.LIKE_FIND)
        self.bar = QProgressBar()
        self.bar.setMinimumWidth(40)
        self.cancel = narrow(QPushButton("Cancel"), tooltips.LIKE_CANCEL)
        self.grid = QWidget()
        layout = QGridLayout(self.grid)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(3)
        self.pictures: list[Picture] = []
        for place in range(COUNT):
            picture = Picture(place, "", tooltips.LIKE_CELL)
            picture.clicked.connect(self._on_picture)
            self.pictures.append(picture)
            layout.addWidget(picture, place // COLUMNS, place % COLUMNS, Qt.AlignmentFlag.AlignHCenter)
        self.note = muted(QLabel(_NOTE))
        self.column.addWidget(self.text)
        self.column.addWidget(self.compute)
        self.column.addWidget(self.search_button)
        self.column.addLayout(beside(self.bar, self.cancel))
        self.column.addWidget(self.grid)
        self.column.addWidget(self.note)
        self.compute.clicked.connect(self.embed)
        self.search_button.clicked.connect(self.search)
        self.cancel.clicked.connect(self._on_cancel)

    def blocker(self) -> str:
        """Say why no like cells can be found."""
        if not self.context.result:
            return (
                "Analyse the slide, or open a result in Results: like cells are looked for among its cells."
            )
        return ""

    @property
    def ready(self) -> bool:
        """Whether the open result has vectors of its cells."""
        result = self.context.result
        if result and result not in self._known:
            from napari_dama.predict.embeddings import has_embeddings

            self._known[result] = has_embeddings(result)
        return self._known.get(result, False)

    def refresh(self) -> None:
        """Look again whether the result has vectors: they may have come from the command line."""
        self._known.clear()

    def ask(self, at: tuple[float, float], *, live: bool = False) -> None:
        """Find cells like the clicked one, when everything for it is there."""
        if self.ready and self.context.label:
            self.search()

    def embed(self) -> None:
        """Let the network look at every cell of the result, in a thread, and keep the vectors."""
        if self.work is not None or self.blocker():
            return
        result, bench = self.context.result, self.context.bench()

        def task(progress: Report, stop: Stop) -> str:
            load_torch()
            from napari_dama.models.shelf import load_card
            from napari_dama.predict.embeddings import embed_cells, model_of
            from napari_dama.predict.result import ResultFolder

            found = ResultFolder.open(result)
            recorded = found.run.get("slide", {}).get("path")
            slide = bench.slide if recorded is None or not Path(recorded).exists() else None
            model = model_of(found)
            try:
                load_card(model)
            except ModelError:  # it is gone from the shelf: the one chosen in the window does as well
                model = bench.model
            embed_cells(result, slide=slide, model=model, progress=progress, stop=stop)
            return result

        self.work = Work(task, self)
        self.work.progressed.connect(self._on_embedded_some)
        self.work.finished.connect(self._on_embedded)
        self.work.failed.connect(self._on_not_embedded)
        self.bar.setRange(0, 0)
        self.sync()
        self.work.start()

    def _on_embedded_some(self, progress: Any) -> None:
        self.bar.setRange(0, progress.total)
        self.bar.setValue(progress.done)

    def _on_embedded(self, result: str) -> None:
        self.work = None
        self._known[result] = True
        self.sync()
        if self.context.label and result == self.context.result:
            self.search()

    def _on_not_embedded(self, error: Exception) -> None:
        self.work = None
        self.sync()
        if not isinstance(error, Interrupted):
            self.failed.emit(error)

    def _on_cancel(self) -> None:
        if self.work is not None:
            self.work.cancel()

    def search(self) -> None:
        """Find the cells nearest to the clicked one."""
        label, result = self.context.label, self.context.result
        if not label or not self.ready:
            return

        colours = self.context.colours()

        def question(loaded: Loaded, progress: Report, stop: Stop) -> Alike:
            return find_alike(loaded, result, label, colours, stop)

        self.context.asker.ask("like", self.context.bench(), question)
        self.sync()

    def on_answer(self, kind: str, value: Any) -> None:
        """Show the cells as crops and rings."""
        if kind != "like":
            return
        self.alike = value
        for place, picture in enumerate(self.pictures):
            if place < len(value.cells):
                cell = value.cells[place]
                picture.set_picture(cell.picture)
                picture.set_caption(f"{cell.distance:.2f} {cell.type}".strip())
                picture.setToolTip(f"Cell {cell.label}. {tooltips.LIKE_CELL}")
            picture.setVisible(place < len(value.cells))
        self.context.later.then("like", self._show_on_slide)

    def _show_on_slide(self) -> None:
        """Ring the cells that were found last."""
        if self.alike is not None:
            cells = self.alike.cells
            mark_alike(
                self.context.viewer,
                self.context.later,
                self.context.session,
                [(cell.y, cell.x) for cell in cells],
                [cell.label for cell in cells],
                [cell.distance for cell in cells],
            )

    def _on_picture(self, place: Any) -> None:
        if self.alike is not None and place < len(self.alike.cells):
            cell = self.alike.cells[place]
            for other, picture in enumerate(self.pictures):
                picture.set_chosen(other == place)
            self.cell_asked.emit(cell.label, cell.y, cell.x)

    def sync(self) -> None:
        """Show the state."""
        busy, blocked = self.work is not None, bool(self.blocker())
        label = self.context.label
        made = self.alike is not None and not blocked
        self.compute.setVisible(not self.ready and not blocked)
        self.compute.setEnabled(not busy)
        self.search_button.setVisible(self.ready and not blocked)
        self.search_button.setEnabled(bool(label))
        self.bar.setVisible(busy)
        self.cancel.setVisible(busy)
        self.grid.setVisible(made)
        self.note.setVisible(made)
        self.text.setVisible(not blocked)
        if busy:
            self.text.setText("The model looks at every cell of this result ...")
        elif not self.ready:
            self.text.setText(
                "To compare cells, the model must have looked at each of them once. What it makes of them is kept with the "
                "result."
            )
        elif self.context.asker.is_busy("like"):
            self.text.setText(f"Looking for cells like cell {label} ...")
        elif self.alike is not None:
            kinds = [cell.type for cell in self.alike.cells if cell.type]
            same = f" {_counts(kinds)}." if kinds else ""
            among = f"{self.alike.among:,}".replace(",", " ")
            self.text.setText(
                f"The {len(self.alike.cells)} cells most like cell {self.alike.label}, among {among}.{same}"
            )
        elif not label:
            self.text.setText("Click a cell on the slide, then find the cells that are most like it.")
        else:
            self.text.setText(f"Cell {label} is chosen.")

    def forget(self) -> None:
        """Forget the cells and hide the rings."""
        self.alike = None
        self.context.later.drop("like")
        hide(self.context.later, layers_of(self.context.viewer.layers, "alike"))
        self.sync()

    def close_down(self) -> None:
        """Stop looking."""
        if self.work is not None:
            self.work.let_go()


def _counts(kinds: list[str]) -> str:
    """Count names, most frequent first: ``9 neuron, 3 astrocyte``."""
    names = sorted(set(kinds), key=lambda name: (-kinds.count(name), name))
    return ", ".join(f"{kinds.count(name)} {name}" for name in names)


_NOTE = (
    "Near means alike to the network, which saw markers and shapes in a square around each cell. Rings on the slide mark "
    "these cells."
)
