"""The dock widget *DAMA*: which slide and model, the tabs, and the message area.

The dock is in the window at once; what is in it is made in turns, so that the window never stands still: libraries are
loaded in a thread, and then the tabs are made, one for each turn of the event loop. Whoever asks for a part before it is
there has the rest made at once. So this module imports nothing that is large.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QFrame, QScrollArea, QTabWidget, QVBoxLayout, QWidget

from napari_dama.gui.dock_slides import SlideRows
from napari_dama.gui.docked import Docked
from napari_dama.gui.message import MessageArea
from napari_dama.gui.preferences import apply_folders, read_preferences
from napari_dama.gui.quiet import load_in_thread
from napari_dama.gui.turns import Turns

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from threading import Thread

    import napari
    from qtpy.QtWidgets import QComboBox, QLabel, QPushButton

    from napari_dama.gui.adopt_flow import Adopter
    from napari_dama.gui.analyse_tab import AnalyseTab
    from napari_dama.gui.annotate_tab import AnnotateTab
    from napari_dama.gui.arrive import SlideOpener
    from napari_dama.gui.background_runs import BackgroundRuns
    from napari_dama.gui.channels_tab import ChannelsTab
    from napari_dama.gui.explain_tab import ExplainTab
    from napari_dama.gui.gallery import Gallery
    from napari_dama.gui.results_tab import ResultsTab
    from napari_dama.gui.session import Session
    from napari_dama.gui.state import DamaState
    from napari_dama.gui.style import Tab
    from napari_dama.gui.train_tab import TrainTab

TITLES: Final = {
    "channels": "Channels",
    "analyse": "Analyse",
    "results": "Results",
    "annotate": "Annotate",
    "explain": "Explain",
    "train": "Train",
}
"""Titles of the tabs in the order of the work, by the dock's attributes."""

MODULES: Final = (
    "napari_dama.gui.session",
    "napari_dama.gui.dock_tabs",
    "napari_dama.gui.background_runs",
    "napari_dama.gui.adopt_flow",
    "napari_dama.gui.arrive",
    "napari_dama.gui.gallery",
)
LATER: Final = frozenset(
    {*TITLES, "state", "session", "opener", "adopter", "runs", "gallery"}
    | {"slide_box", "model_box", "facts", "adopt", "use_layers"}
)
"""Attributes that are there when all is made."""


class DamaDock(Docked):
    """Takes a person from a slide to cells, their types, and the reasons.

    Parameters
    ----------
    napari_viewer : napari.Viewer
        The window's viewer; napari hands it over by this name.

    Attributes
    ----------
    turns : Turns
        Makes what is in the dock; its ``going`` is false when all is there.
    """

    state: DamaState
    session: Session
    opener: SlideOpener
    adopter: Adopter
    runs: BackgroundRuns
    channels: ChannelsTab
    analyse: AnalyseTab
    results: ResultsTab
    annotate: AnnotateTab
    explain: ExplainTab
    train: TrainTab
    gallery: Gallery | None
    slide_box: QComboBox
    model_box: QComboBox
    facts: QLabel
    adopt: QPushButton
    use_layers: QPushButton

    def __init__(self, napari_viewer: napari.Viewer, *, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.viewer = napari_viewer
        self._closed = False
        self._waiting: list[Callable[[], object]] = []
        self._build()
        self.turns = Turns(self._make(), self)
        self.turns.failed.connect(self.message.show_error)
        self.turns.finished.connect(self._on_made)
        self.turns.start()

    def _build(self) -> None:
        self.rows = SlideRows(self.viewer)
        self.tabs = QTabWidget()
        self.tabs.setObjectName("dama_tabs")
        self.tabs.setUsesScrollButtons(True)
        points = 0.86 * max(self.tabs.font().pointSizeF(), 8.0)  # six tabs in 320 px
        self.tabs.setStyleSheet(f"QTabBar::tab {{ padding: 3px 2px; font-size: {points:.1f}pt; }}")
        self.tabs.setElideMode(Qt.TextElideMode.ElideNone)
        self.pages = {name: _page() for name in TITLES}
        for name, page in self.pages.items():
            self.tabs.addTab(page, TITLES[name])
        self.message = MessageArea()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(6, 6, 6, 6)
        layout.setSpacing(6)
        layout.addWidget(self.rows)
        layout.addWidget(self.tabs, stretch=1)
        layout.addWidget(self.message)
        self.setMinimumWidth(300)

    def _make(self) -> Iterator[Thread | None]:
        """Make what is in the dock, in steps."""
        yield load_in_thread(MODULES)
        from napari_dama.gui.dock_tabs import make_tabs
        from napari_dama.gui.session import Session
        from napari_dama.gui.state import AnalyseState, DamaState

        preferences = read_preferences()
        apply_folders(preferences)
        self.state = DamaState(analyse=AnalyseState(device=preferences.device))
        self.session = Session(self.state)
        yield None
        for name, tab in make_tabs(self.viewer, self.session):
            setattr(self, name, tab)
            self.pages[name].setWidget(tab)
            tab.failed.connect(self.message.show_error)
            tab.noted.connect(self.message.show_note)
            yield None
        self._connect()
        yield None
        self.rows.sync_slides()
        self.rows.sync_models()

    def _connect(self) -> None:
        from napari_dama.gui.adopt_flow import Adopter
        from napari_dama.gui.arrive import SlideOpener
        from napari_dama.gui.background_runs import BackgroundRuns

        rows = self.rows
        self.slide_box, self.model_box, self.facts = rows.slide_box, rows.model_box, rows.facts
        self.adopt, self.use_layers = rows.adopt, rows.use_layers
        self.gallery = None
        self.adopter = Adopter(self.viewer, self.session, self)
        self.opener = SlideOpener(self.viewer, self.session, self)
        rows.follow(self.session)
        rows.open_asked.connect(self.open_slide)
        rows.chosen.connect(self.message.clear)
        rows.use_layers.clicked.connect(self.adopter.ask)
        self.opener.failed.connect(self.message.show_error)
        self.session.failed.connect(self.message.show_error)
        self.adopter.adopted.connect(self._on_adopted)
        self.adopter.failed.connect(self.message.show_error)
        self.adopter.noted.connect(self.message.show_note)
        self.channels.relinked.connect(self._on_relinked)
        self.analyse.analysed.connect(self._on_analysed)
        self.analyse.tile_done.connect(self.results.show_live)
        self.runs = BackgroundRuns(self)
        self.state.results.events.selected.connect(self._on_cell)
        self.results.explain_asked.connect(self._on_explain_asked)
        self.annotate.gallery_asked.connect(self.show_gallery)
        self.annotate.improve.accepted.connect(self._on_improved)
        self.explain.cell_asked.connect(self._on_cell_asked)
        self.train.model_offered.connect(self._on_model_offered)

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            """Make the rest at once when a part is asked for that is not there yet."""
            if name in LATER and not self.__dict__.get("_closed", True):
                self.turns.finish()
                if name in self.__dict__:
                    return self.__dict__[name]
            raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")

    def when_made(self, do: Callable[[], object]) -> None:
        """Do something when all is in the dock; at once when it is."""
        if self.turns.going:
            self._waiting.append(do)
        else:
            do()

    def _on_made(self) -> None:
        waiting, self._waiting = self._waiting, []
        for do in waiting:
            do()

    @property
    def named_tabs(self) -> dict[str, Tab]:
        """The tabs in the order of the work, by their titles."""
        return {title: getattr(self, name) for name, title in TITLES.items()}

    def show_tab(self, tab: Tab) -> None:
        """Bring a tab to the front."""
        self.show_title(next(title for title, each in self.named_tabs.items() if each is tab))

    def show_title(self, title: str) -> None:
        """Bring the tab of a title to the front, be it made or not."""
        self.tabs.setCurrentIndex(list(TITLES.values()).index(title))

    def open_slide(self, path: str) -> None:
        """Open a slide, a layer at a time."""
        self.message.clear()
        self.opener.open(path)

    def _on_adopted(self, slide: str, names: tuple[str, ...]) -> None:
        self._on_relinked(slide)
        self.channels.deeds.rename(names)

    def _on_relinked(self, slide: str) -> None:
        self.state.slide = slide
        self.rows.sync_slides()

    def _on_analysed(self, folder: str) -> None:
        self.results.open_folder(folder)
        if self.results.has_result:
            self.show_tab(self.results)

    def _on_cell(self) -> None:
        self.explain.set_cell(self.results.selected_centre())

    def _on_explain_asked(self) -> None:
        self.show_tab(self.explain)
        self.explain.explain_cell()

    def show_gallery(self) -> Gallery:
        """Show the gallery, in a dock of its own that may float."""
        from napari_dama.gui.gallery import Gallery

        if self.gallery is None or self.gallery.closed:
            self.gallery = Gallery(self.viewer, self.session, self.results)
            self.gallery.failed.connect(self.message.show_error)
            self.gallery.noted.connect(self.message.show_note)
            self.gallery.cell_asked.connect(self.annotate.show_cell)
            self.annotate.outlines.files.written.connect(self.gallery.reload)
            self.viewer.window.add_dock_widget(self.gallery, name="DAMA gallery", area="bottom")
        elif (area := self.gallery.parentWidget()) is not None:
            area.show()
            area.raise_()
        return self.gallery

    def _on_cell_asked(self, label: int) -> None:
        """Explain goes to another cell: it becomes the clicked one."""
        self.session.cells.select([label])

    def _on_model_offered(self, name: str) -> None:
        self._on_improved(name)
        self.show_tab(self.analyse)

    def _on_improved(self, name: str) -> None:
        self.state.model = name
        self.rows.sync_models()

    def close_down(self) -> None:
        """Stop the work, let go of the viewer and of the slide; safe to call twice."""
        if self._closed:
            return
        self._closed = True
        self.turns.let_go()
        there = self.__dict__
        if "runs" in there:
            self.state.results.events.selected.disconnect(self._on_cell)
            self.opener.close_down()
            if self.gallery is not None:
                self.gallery.close_down()
        self.rows.let_go()
        for name in TITLES:
            if name in there:
                there[name].close_down()
        if "session" in there:
            self.session.close()

    def closeEvent(self, event: object) -> None:
        """Qt closes the widget."""
        self.close_down()
        super().closeEvent(event)  # type: ignore[arg-type]


def _page() -> QScrollArea:
    """Return a tab's place, empty until the tab is made."""
    area = QScrollArea()
    area.setWidgetResizable(True)
    area.setFrameShape(QFrame.Shape.NoFrame)
    area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
    return area
