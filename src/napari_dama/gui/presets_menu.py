"""The button *Presets*: colours and contrast that are saved, applied to this slide or to all, and applied by themselves."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Signal as QtSignal  # type: ignore[attr-defined]
from qtpy.QtGui import QAction  # type: ignore[attr-defined]
from qtpy.QtWidgets import (
    QCheckBox,
    QDialog,
    QFormLayout,
    QLabel,
    QLineEdit,
    QMenu,
    QMessageBox,
    QPushButton,
    QRadioButton,
    QVBoxLayout,
    QWidget,
)

from napari_dama.errors import DamaError
from napari_dama.gui import tooltips
from napari_dama.gui.presets import (
    Preset,
    apply_preset,
    default_preset,
    delete_preset,
    list_presets,
    preset_of,
    presets_folder,
    save_preset,
)
from napari_dama.gui.style import beside, muted, narrow
from napari_dama.gui.work import Report, Stop, Work

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_dama.gui.marker_book import MarkerBook
    from napari_dama.gui.markers import Markers
    from napari_dama.gui.session import Session


class PresetsButton(QPushButton):
    """A button with a menu; percentiles are looked up in a thread.

    Signals
    -------
    failed(error), noted(text)
        For the message area.
    """

    failed = QtSignal(object)
    noted = QtSignal(str)

    def __init__(self, session: Session, book: MarkerBook, *, parent: QWidget | None = None) -> None:
        super().__init__("Presets", parent)
        self.session, self.book = session, book
        self.works: list[Work] = []
        self.dialog: SaveDialog | None = None
        narrow(self, tooltips.PRESETS)
        self.list = QMenu(self)
        self.list.setToolTipsVisible(True)
        self.setMenu(self.list)
        self.list.aboutToShow.connect(self.fill)

    @property
    def _markers(self) -> Markers | None:
        return self.book.get(self.session.state.slide)

    def fill(self) -> None:
        """Build the menu from the folder as it is now."""
        self.list.clear()
        markers = self._markers
        names = () if markers is None else markers.names
        found, wrong = list_presets(names)
        save = _entry(self.list, "Save colours and contrast ...")
        save.setEnabled(markers is not None)
        save.triggered.connect(self.ask)
        self.list.addSeparator()
        for preset in found:
            self._add(preset, names)
        if not found:
            _entry(self.list, "No preset yet").setEnabled(False)
        for sentence in wrong:
            broken = _entry(self.list, "A file that is no preset")
            broken.setToolTip(sentence)
            broken.setEnabled(False)

    def _add(self, preset: Preset, names: Sequence[str]) -> None:
        known = round(preset.share_of(names) * len(names))
        title = f"{preset.name}  ({known} of {len(names)} markers)" if names else preset.name
        menu = QMenu(f"{title}  \N{BULLET} default" if preset.default else title, self.list)
        self.list.addMenu(menu)
        here = _entry(menu, "Apply to this slide")
        here.setEnabled(known > 0)
        here.triggered.connect(partial(self._on_apply, preset, False))
        everywhere = _entry(menu, "Apply to all open slides")
        everywhere.triggered.connect(partial(self._on_apply, preset, True))
        usual = _entry(menu, "Use for every slide like this (default)")
        usual.setCheckable(True)
        usual.setChecked(preset.default)
        usual.triggered.connect(partial(self.set_default, preset))
        delete = _entry(menu, "Delete ...")
        delete.triggered.connect(partial(self._on_delete, preset))

    def _on_apply(self, preset: Preset, everywhere: bool, checked: bool = False) -> None:
        self.apply(preset, everywhere=everywhere)

    def apply(self, preset: Preset, *, everywhere: bool = False) -> None:
        """Show this slide, or all open ones, as a preset says."""
        chosen = list(self.book) if everywhere else [m for m in [self._markers] if m is not None]
        fitting = [markers for markers in chosen if preset.share_of(markers.names) > 0]
        if not fitting:
            self.noted.emit(
                f"No marker of the preset '{preset.name}' is on {'these slides' if everywhere else 'this slide'}."
            )
            return
        for markers in fitting:
            self._apply_to(preset, markers)
        skipped = len(chosen) - len(fitting)
        if everywhere:
            self.noted.emit(
                f"'{preset.name}' was applied to {len(fitting)} slide{'' if len(fitting) == 1 else 's'}"
                + (f"; {skipped} without any of its markers stayed as they were." if skipped else ".")
            )

    def apply_default(self, markers: Markers) -> None:
        """Show a slide that was just opened as its default preset says, where there is one."""
        preset = default_preset(markers.names)
        if preset is not None:
            self._apply_to(preset, markers)
            self.noted.emit(f"Shown as in your preset '{preset.name}'.")

    def _apply_to(self, preset: Preset, markers: Markers) -> None:
        if preset.contrast == "value":
            apply_preset(preset, markers)
            return
        wanted = {
            marker.index: (look.low, look.high)
            for marker in markers.all
            if (look := preset.look_of(marker.name)) is not None
        }
        slide_name = markers.slide

        def task(progress: Report, stop: Stop) -> Any:
            from napari_dama.slides.histogram import ends_at

            with self.session.open(slide_name) as slide:
                return ends_at(slide, wanted)

        self._start(task, lambda values: apply_preset(preset, markers, values=values))

    def ask(self) -> None:
        """Ask for a name and save."""
        self.dialog = SaveDialog(self)
        self.dialog.saved.connect(self.save)
        self.dialog.open()

    def save(self, name: str, by_percentile: bool, default: bool, overwrite: bool = False) -> None:
        """Save how the slide is shown now as a preset."""
        markers = self._markers
        if markers is None:
            return
        if not by_percentile:
            self._save(name, markers, None, default, overwrite)
            return
        ends = {marker.index: marker.contrast for marker in markers.all}
        slide_name = markers.slide

        def task(progress: Report, stop: Stop) -> Any:
            from napari_dama.slides.histogram import percentiles_of

            with self.session.open(slide_name) as slide:
                return percentiles_of(slide, ends)

        self._start(task, lambda found: self._save(name, markers, found, default, overwrite))

    def _save(self, name: str, markers: Markers, percentiles: Any, default: bool, overwrite: bool) -> None:
        try:
            preset = preset_of(name, markers, percentiles=percentiles, default=default)
            file = save_preset(preset, overwrite=overwrite)
        except DamaError as error:
            self.failed.emit(error)
        else:
            self.noted.emit(f"Saved as {file}.")

    def set_default(self, preset: Preset, default: bool) -> None:
        """Apply a preset by itself to slides that are opened, or no more."""
        try:
            save_preset(preset.model_copy(update={"default": default}), overwrite=True)
        except DamaError as error:
            self.failed.emit(error)

    def _on_delete(self, preset: Preset, checked: bool = False) -> None:
        yes = QMessageBox.StandardButton.Yes
        answer = QMessageBox.question(self, "Delete a preset", f"Delete the preset '{preset.name}'?")
        if answer == yes:
            self.delete(preset)

    def delete(self, preset: Preset) -> None:
        """Delete a preset."""
        try:
            delete_preset(preset.name)
        except DamaError as error:
            self.failed.emit(error)

    def _start(self, task: Any, then: Any) -> None:
        work = Work(task, self)
        self.works.append(work)

        def done(result: Any) -> None:
            self.works.remove(work)
            then(result)

        def failed(error: Exception) -> None:
            self.works.remove(work)
            self.failed.emit(error)

        work.finished.connect(done)
        work.failed.connect(failed)
        work.start()

    def close_down(self) -> None:
        """Let go of what is being looked up."""
        for work in self.works:
            work.let_go()
        self.works = []


def _entry(menu: QMenu, title: str) -> QAction:
    action = QAction(title, menu)
    menu.addAction(action)
    return action


class SaveDialog(QDialog):
    """Name, kind of contrast, and whether it is the default.

    Signals
    -------
    saved(name, by percentile, default, replace)
        *Save* was pressed.
    """

    saved = QtSignal(str, bool, bool, bool)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle("Save colours and contrast")
        self.name = QLineEdit()
        self.name.setPlaceholderText("such as: Brain, microscope 2")
        self.by_value = QRadioButton("as values: for slides of the same microscope and exposure")
        self.by_percentile = QRadioButton("as percentiles of each slide's own pixels")
        self.by_value.setToolTip(tooltips.PRESET_VALUE)
        self.by_percentile.setToolTip(tooltips.PRESET_PERCENTILE)
        self.by_value.setChecked(True)
        self.default = QCheckBox("use for every slide with these markers that I open")
        self.default.setToolTip(tooltips.PRESET_DEFAULT)
        self.replace = QCheckBox("replace the one of that name")
        self.replace.setToolTip(tooltips.PRESET_REPLACE)
        self.replace.setVisible(False)
        self.where = muted(QLabel(f"Presets are files in {presets_folder()}."))
        self.do = QPushButton("Save")
        self.cancel = QPushButton("Cancel")
        form = QFormLayout()
        form.addRow("Name", self.name)
        layout = QVBoxLayout(self)
        layout.addLayout(form)
        layout.addWidget(QLabel("Keep the contrast"))
        for widget in (self.by_value, self.by_percentile, self.default, self.replace, self.where):
            layout.addWidget(widget)
        layout.addLayout(beside(self.cancel, self.do))
        self._taken = {preset.name.casefold() for preset in list_presets()[0]}
        self.name.textChanged.connect(self._sync)
        self.replace.toggled.connect(self._sync)
        self.do.clicked.connect(self._on_save)
        self.cancel.clicked.connect(self.close)
        self._sync()

    def _sync(self, event: object = None) -> None:
        name = self.name.text().strip()
        taken = name.casefold() in self._taken
        self.replace.setVisible(taken)
        self.do.setEnabled(bool(name) and (not taken or self.replace.isChecked()))

    def _on_save(self) -> None:
        self.saved.emit(
            self.name.text().strip(),
            self.by_percentile.isChecked(),
            self.default.isChecked(),
            self.replace.isChecked(),
        )
        self.close()
