"""The dock widget *DAMA*: which slide and model, the tabs, and the message area."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QComboBox,
    QFormLayout,
    QFrame,
    QLabel,
    QPushButton,
    QScrollArea,
    QTabWidget,
    QVBoxLayout,
    QWidget,
)

from napari_dama.errors import DamaError
from napari_dama.gui import tooltips
from napari_dama.gui.adopt import strangers
from napari_dama.gui.adopt_flow import Adopter
from napari_dama.gui.analyse_tab import AnalyseTab
from napari_dama.gui.annotate_tab import AnnotateTab
from napari_dama.gui.background_runs import BackgroundRuns
from napari_dama.gui.channels_tab import ChannelsTab
from napari_dama.gui.docked import Docked
from napari_dama.gui.explain_tab import ExplainTab
from napari_dama.gui.gallery import Gallery
from napari_dama.gui.layers import LAYER_SLIDE, foreign_file, slides_in
from napari_dama.gui.message import MessageArea
from napari_dama.gui.preferences import apply_folders, read_preferences
from napari_dama.gui.results_tab import ResultsTab
from napari_dama.gui.session import Session
from napari_dama.gui.state import AnalyseState, DamaState
from napari_dama.gui.style import Tab, muted, narrow
from napari_dama.gui.train_tab import TrainTab

if TYPE_CHECKING:
    import napari


class DamaDock(Docked):
    """Takes a person from a slide to cells, their types, and the reasons.

    Parameters
    ----------
    napari_viewer : napari.Viewer
        The window's viewer; napari hands it over by this name.
    """

    def __init__(self, napari_viewer: napari.Viewer, *, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.viewer = napari_viewer
        preferences = read_preferences()
        apply_folders(preferences)
        self.state = DamaState(analyse=AnalyseState(device=preferences.device))
        self.session = Session(self.state)
        self.gallery: Gallery | None = None
        self._closed = False
        self._build()
        self._connect()
        self._sync_slides()
        self._sync_models()

    def _build(self) -> None:
        self.slide_box = narrow(QComboBox(), tooltips.SLIDE)
        self.model_box = narrow(QComboBox(), tooltips.MODEL)
        self.facts = muted(QLabel())
        self.adopt = narrow(QPushButton("Open it as a slide"), tooltips.OPEN_AS_SLIDE)
        self.use_layers = narrow(QPushButton("Use layers as a slide ..."), tooltips.USE_LAYERS)
        self.adopter = Adopter(self.viewer, self.session, self)
        form = QFormLayout()
        form.setContentsMargins(0, 0, 0, 0)
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.ExpandingFieldsGrow)
        form.addRow("Slide", self.slide_box)
        form.addRow("Model", self.model_box)
        self.channels = ChannelsTab(self.viewer, self.session)
        self.analyse = AnalyseTab(self.viewer, self.session)
        self.results = ResultsTab(self.viewer, self.session)
        self.annotate = AnnotateTab(self.viewer, self.session, self.results)
        self.explain = ExplainTab(self.viewer, self.session)
        self.train = TrainTab(self.viewer, self.session)
        self.tabs = QTabWidget()
        self.tabs.setObjectName("dama_tabs")
        self.tabs.setUsesScrollButtons(True)
        points = 0.86 * max(self.tabs.font().pointSizeF(), 8.0)  # six tabs in 320 px
        self.tabs.setStyleSheet(f"QTabBar::tab {{ padding: 3px 2px; font-size: {points:.1f}pt; }}")
        self.tabs.setElideMode(Qt.TextElideMode.ElideNone)
        for name, tab in self.named_tabs.items():
            self.tabs.addTab(_scrolled(tab), name)
        self.message = MessageArea()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(6, 6, 6, 6)
        layout.setSpacing(6)
        layout.addLayout(form)
        layout.addWidget(self.facts)
        layout.addWidget(self.adopt)
        layout.addWidget(self.use_layers)
        layout.addWidget(self.tabs, stretch=1)
        layout.addWidget(self.message)
        self.setMinimumWidth(300)

    @property
    def named_tabs(self) -> dict[str, Tab]:
        """The tabs in the order of the work, by their titles."""
        return {
            "Channels": self.channels,
            "Analyse": self.analyse,
            "Results": self.results,
            "Annotate": self.annotate,
            "Explain": self.explain,
            "Train": self.train,
        }

    def show_tab(self, tab: Tab) -> None:
        """Bring a tab to the front."""
        self.tabs.setCurrentIndex(list(self.named_tabs.values()).index(tab))

    def _connect(self) -> None:
        self.viewer.layers.events.inserted.connect(self._sync_slides)
        self.viewer.layers.events.removed.connect(self._sync_slides)
        self.session.slide_changed.connect(self._sync_facts)
        self.session.plan_changed.connect(self._sync_facts)
        self.session.models_changed.connect(self._sync_models)
        self.session.failed.connect(self.message.show_error)
        self.adopt.clicked.connect(self._on_adopt)
        self.use_layers.clicked.connect(self.adopter.ask)
        self.adopter.adopted.connect(self._on_adopted)
        self.adopter.failed.connect(self.message.show_error)
        self.adopter.noted.connect(self.message.show_note)
        self.channels.relinked.connect(self._on_relinked)
        self.slide_box.activated.connect(self._on_slide_chosen)
        self.model_box.activated.connect(self._on_model_chosen)
        for tab in self.named_tabs.values():
            tab.failed.connect(self.message.show_error)
            tab.noted.connect(self.message.show_note)
        self.analyse.analysed.connect(self._on_analysed)
        self.analyse.tile_done.connect(self.results.show_live)
        self.runs = BackgroundRuns(self)
        self.state.results.events.selected.connect(self._on_cell)
        self.results.explain_asked.connect(self._on_explain_asked)
        self.annotate.gallery_asked.connect(self.show_gallery)
        self.annotate.improve.accepted.connect(self._on_improved)
        self.explain.cell_asked.connect(self._on_cell_asked)
        self.train.model_offered.connect(self._on_model_offered)

    def _sync_slides(self, event: object = None) -> None:
        paths = slides_in(self.viewer.layers)
        self.slide_box.clear()
        for path in paths:
            self.slide_box.addItem(path.removeprefix(LAYER_SLIDE).replace("\\", "/").rsplit("/", 1)[-1], path)
            self.slide_box.setItemData(self.slide_box.count() - 1, path, Qt.ItemDataRole.ToolTipRole)
        if not paths:
            self.slide_box.addItem("none open", "")
        wanted = self.state.slide if self.state.slide in paths else (paths[-1] if paths else "")
        self.slide_box.setCurrentIndex(max(self.slide_box.findData(wanted), 0))
        self.session.forget_others(paths)
        self.state.slide = wanted
        self._sync_facts()

    def _sync_models(self) -> None:
        self.model_box.clear()
        for card in self.session.cards:
            self.model_box.addItem(card.name, card.name)
            self.model_box.setItemData(self.model_box.count() - 1, card.summary, Qt.ItemDataRole.ToolTipRole)
        if not self.session.cards:
            self.model_box.addItem("none on the shelf", "")
        self.model_box.setCurrentIndex(max(self.model_box.findData(self.state.model), 0))
        self._sync_facts()

    def _sync_facts(self) -> None:
        slide = self.session.slide
        stranger = foreign_file(self.viewer.layers) if slide is None else ""
        self.adopt.setVisible(bool(stranger))
        images = strangers(self.viewer.layers)
        self.use_layers.setVisible(bool(images))
        if slide is None:
            self.facts.setText(_OTHER_READER if images else _NOTHING_OPEN)
            return
        count, height, width = slide.shape
        pixel = self.session.pixel.pixel_um
        size = "pixel size unknown" if pixel is None else f"{pixel:.4g} µm per pixel"
        self.facts.setText(f"{count} markers, {height} x {width} px, {slide.dtype}, {size}")

    def _on_adopt(self) -> None:
        path = foreign_file(self.viewer.layers)
        try:
            self.viewer.open(path, plugin="napari-dama")
        except (DamaError, OSError, ValueError) as error:
            self.message.show_error(error)

    def _on_adopted(self, slide: str, names: tuple[str, ...]) -> None:
        self._on_relinked(slide)
        self.channels.deeds.rename(names)

    def _on_relinked(self, slide: str) -> None:
        self.state.slide = slide
        self._sync_slides()

    def _on_slide_chosen(self, index: int) -> None:
        self.message.clear()
        self.state.slide = str(self.slide_box.itemData(index) or "")

    def _on_model_chosen(self, index: int) -> None:
        self.message.clear()
        self.state.model = str(self.model_box.itemData(index) or "")

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
        self.state.model = name
        self._sync_models()
        self.show_tab(self.analyse)

    def _on_improved(self, name: str) -> None:
        self.state.model = name
        self._sync_models()

    def close_down(self) -> None:
        """Stop the work, let go of the viewer and of the slide; safe to call twice."""
        if self._closed:
            return
        self._closed = True
        self.viewer.layers.events.inserted.disconnect(self._sync_slides)
        self.viewer.layers.events.removed.disconnect(self._sync_slides)
        self.state.results.events.selected.disconnect(self._on_cell)
        if self.gallery is not None:
            self.gallery.close_down()
        for tab in self.named_tabs.values():
            tab.close_down()
        self.session.close()

    def closeEvent(self, event: object) -> None:
        """Qt closes the widget."""
        self.close_down()
        super().closeEvent(event)  # type: ignore[arg-type]


_NOTHING_OPEN = "Open a slide with File > Open, or take one of File > Open Sample to try it out."
_OTHER_READER = (
    "The image in the window belongs to no slide yet: another reader opened it, or it was added by hand. "
    "Use its layers as a slide, and name the markers."
)


def _scrolled(tab: QWidget) -> QScrollArea:
    area = QScrollArea()
    area.setWidget(tab)
    area.setWidgetResizable(True)
    area.setFrameShape(QFrame.Shape.NoFrame)
    area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
    return area
