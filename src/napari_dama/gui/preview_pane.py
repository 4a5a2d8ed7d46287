"""Pictures that a run left at its validations: one at a time, with a slider over the steps, and the confusion matrix."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt, QUrl
from qtpy.QtGui import QDesktopServices, QImage, QPixmap
from qtpy.QtWidgets import QLabel, QPushButton, QSizePolicy, QSlider, QVBoxLayout, QWidget

from napari_dama.gui import tooltips
from napari_dama.gui.confusion import ConfusionView
from napari_dama.gui.style import beside, muted, narrow, say

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from qtpy.QtGui import QResizeEvent

    from napari_dama.gui.confusion_file import Confusion


class Picture(QLabel):
    """An image that always fits the width there is, with its own ratio of sides."""

    def __init__(self, *, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.image = QImage()
        self.setMinimumWidth(40)
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.setAlignment(Qt.AlignmentFlag.AlignHCenter | Qt.AlignmentFlag.AlignTop)

    def show_image(self, image: QImage) -> None:
        """Show an image."""
        self.image = image
        self._fit()

    def resizeEvent(self, event: QResizeEvent | None) -> None:
        """Fit the new width."""
        super().resizeEvent(event)
        if event is None or event.oldSize().width() != self.width():
            self._fit()

    def _fit(self) -> None:
        if self.image.isNull():
            self.clear()
            return
        width = max(min(self.width(), self.image.width()), 1)
        height = max(round(self.image.height() * width / self.image.width()), 1)
        ratio = self.devicePixelRatioF()
        pixmap = QPixmap.fromImage(self.image).scaled(
            round(width * ratio),
            round(height * ratio),
            Qt.AspectRatioMode.IgnoreAspectRatio,
            Qt.TransformationMode.SmoothTransformation,
        )
        pixmap.setDevicePixelRatio(ratio)
        self.setFixedHeight(height)
        self.setPixmap(pixmap)


class PreviewPane(QWidget):
    """Thin view of ``previews/``: it follows the newest picture until the slider is moved back."""

    def __init__(self, *, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.files: tuple[tuple[int, Path], ...] = ()
        self.shown: Path | None = None
        self.hint = muted(QLabel())
        self.picture = Picture()
        self.slider = QSlider(Qt.Orientation.Horizontal)
        self.slider.setToolTip(tooltips.PREVIEW_STEP)
        self.slider.setMinimumWidth(40)
        self.larger = QPushButton("Larger")
        self.larger.setToolTip(tooltips.PREVIEW_LARGER)
        self.matrix_hint = muted(QLabel())
        self.matrix = ConfusionView()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 4, 0, 0)
        layout.addWidget(self.hint)
        layout.addWidget(self.picture)
        layout.addLayout(beside(self.slider, self.larger))
        layout.addWidget(self.matrix_hint)
        layout.addWidget(self.matrix)
        layout.addStretch()
        narrow(self.larger, tooltips.PREVIEW_LARGER)
        self.slider.valueChanged.connect(self._on_slider)
        self.larger.clicked.connect(self._on_larger)
        self.show_previews((), None, expected=True)

    def show_previews(
        self, files: Sequence[tuple[int, Path]], matrix: Confusion | None, *, expected: bool
    ) -> None:
        """Show what there is.

        Parameters
        ----------
        files : sequence of (step, path)
            Pictures, ascending.
        matrix : Confusion or None
        expected : bool
            Whether pictures may still come; else it is said that there will be none.
        """
        following = self.slider.value() >= self.slider.maximum() or self.shown is None
        same_job = bool(self.files) and bool(files) and self.files[0][1].parent == files[0][1].parent
        self.files = tuple(files)
        blocked = self.slider.blockSignals(True)
        self.slider.setRange(0, max(len(files) - 1, 0))
        if following or not same_job:
            self.slider.setValue(max(len(files) - 1, 0))
        self.slider.blockSignals(blocked)
        for widget in (self.picture, self.slider, self.larger):
            widget.setVisible(bool(files))
        self.matrix.show_matrix(matrix)
        said = (
            ""
            if matrix is None
            else f"Validation cells by true class (row) and guess (column), {matrix.step}:"
        )
        say(self.matrix_hint, said)
        self._draw(waits=matrix is None, expected=expected)

    def _draw(self, *, waits: bool, expected: bool) -> None:
        if not self.files:
            self.shown = None
            text = "The first picture comes with the first validation." if expected else _NO_PICTURES
            say(self.hint, text if waits else "")
            return
        step, path = self.files[min(self.slider.value(), len(self.files) - 1)]
        if path != self.shown:
            image = QImage(str(path))
            if image.isNull():  # removed in the meantime, as old pictures are
                return
            self.shown = path
            self.picture.show_image(image)
            about = image.text("Description").partition(". ")[2]
            say(self.hint, f"Step {step}. {about}")

    def _on_slider(self, value: int) -> None:
        self._draw(waits=False, expected=True)

    def _on_larger(self) -> None:
        if self.shown is not None:
            QDesktopServices.openUrl(QUrl.fromLocalFile(str(self.shown)))


_NO_PICTURES = "This job leaves no pictures: its method rebuilds no pixels, or they are switched off."
