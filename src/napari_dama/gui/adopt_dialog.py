"""The dialog *Use layers as a slide*: which layers, where their channels lie, marker names and pixel size."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtCore import Signal as QtSignal  # type: ignore[attr-defined]
from qtpy.QtWidgets import (
    QComboBox,
    QDialog,
    QFormLayout,
    QLabel,
    QLineEdit,
    QPlainTextEdit,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from napari_dama.errors import SettingsError
from napari_dama.gui import tooltips
from napari_dama.gui.resolve import resolve_pixel
from napari_dama.gui.style import beside, muted, narrow, say, wrapped
from napari_dama.slides.name_list import parse_names

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_dama.gui.adopt import Candidate


class AdoptDialog(QDialog):
    """Asks what a reader did not say.

    Signals
    -------
    agreed(candidate, names, pixel size)
        A `Candidate`, a tuple of names, and a float or None.
    """

    agreed = QtSignal(object, object, object)

    def __init__(self, found: Sequence[Candidate], *, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.found = list(found)
        self.setWindowTitle("Use layers as a slide")
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self._build()
        self._on_layers(0)

    def _build(self) -> None:
        self.layers = narrow(QComboBox(), tooltips.ADOPT_LAYERS)
        for each in self.found:
            self.layers.addItem(each.title)
        self.axis = narrow(QComboBox(), tooltips.ADOPT_AXIS)
        self.pixel = narrow(QLineEdit(), tooltips.PIXEL_SIZE)
        self.pixel.setPlaceholderText("unknown: type it here, or later")
        self.names = QPlainTextEdit()
        self.names.setToolTip(tooltips.RENAME_LIST)
        self.problem = wrapped(QLabel())
        self.problem.setStyleSheet("border-left: 4px solid #d9534f; padding-left: 6px;")
        self.note = muted(QLabel())
        self.use = QPushButton("Use as a slide")
        self.use.setToolTip(tooltips.ADOPT_USE)
        self.cancel = QPushButton("Cancel")
        form = QFormLayout()
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.ExpandingFieldsGrow)
        form.addRow("Layers", self.layers)
        form.addRow("Channels", self.axis)
        form.addRow("Pixel (µm)", self.pixel)
        layout = QVBoxLayout(self)
        layout.addLayout(form)
        layout.addWidget(QLabel("Marker names, in the order of the channels"))
        layout.addWidget(self.names, stretch=1)
        for widget in (self.problem, self.note):
            layout.addWidget(widget)
        layout.addLayout(beside(self.cancel, self.use))
        self.resize(400, 420)
        self.layers.activated.connect(self._on_layers)
        self.axis.activated.connect(self._on_axis)
        self.names.textChanged.connect(self._sync)
        self.pixel.textChanged.connect(self._sync)
        self.use.clicked.connect(self._on_use)
        self.cancel.clicked.connect(self.close)

    def _on_layers(self, index: int) -> None:
        self.candidate = self.found[index]
        first = self.candidate.layers[0]
        shape = (first.data[0] if first.multiscale else first.data).shape
        self.axis.clear()
        for axis in self.candidate.axes:
            label = str(first.axis_labels[axis])
            named = "" if label.lstrip("-").isdigit() else f" ({label})"
            self.axis.addItem(f"axis {axis + 1} of {len(shape)}{named}: {shape[axis]} channels", axis)
        self.axis.setCurrentIndex(max(self.axis.findData(self.candidate.axis), 0))
        self.axis.setEnabled(self.axis.count() > 1)
        if not self.candidate.axes:
            self.axis.addItem("one layer each", None)
        um = self.candidate.pixel_um
        self.pixel.setText("" if um is None else f"{um:.6g}")
        self.names.setPlainText("\n".join(self.candidate.names))

    def _on_axis(self, index: int) -> None:
        self.candidate = self.candidate.along(self.axis.itemData(index))
        self.names.setPlainText("\n".join(self.candidate.names))

    def _wishes(self) -> tuple[tuple[str, ...], float | None, str]:
        """Return names, pixel size, and what is wrong with them."""
        text = self.pixel.text().strip().replace(",", ".").removesuffix("µm").removesuffix("um").strip()
        size: float | None = None
        if text:
            try:
                size = float(text)
            except ValueError:
                return (), None, f"'{text}' is no number: type the width of a pixel in µm, such as 0.5."
            plan = resolve_pixel(None, size)
            if plan.pixel_um is None:
                return (), None, plan.sentence
        try:
            names = tuple(parse_names(self.names.toPlainText()))
        except SettingsError as error:
            return (), size, f"{str(error)[0].upper()}{str(error)[1:]}"
        count = len(self.candidate.names)
        if len(names) != count:
            return (
                names,
                size,
                f"{len(names)} names are given, but there are {count} channels: one name for each is needed.",
            )
        return names, size, ""

    def _sync(self) -> None:
        _, size, problem = self._wishes()
        say(self.problem, problem)
        parts = []
        if size is None and not problem:
            parts.append("Without a pixel size cells cannot be brought to the size that the model knows.")
        if not self.candidate.file:
            parts.append(
                "These layers have no file: everything in this window works, jobs of their own need them saved as OME-TIFF."
            )
        say(self.note, " ".join(parts))
        self.use.setEnabled(not problem)

    def _on_use(self) -> None:
        names, size, problem = self._wishes()
        if not problem:
            self.agreed.emit(self.candidate, names, size)
            self.close()
