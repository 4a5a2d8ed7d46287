"""A plot that is painted: on the screen in the theme's colours, and into a PNG or SVG file in black on white."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from qtpy.QtCore import QRectF, QSize, QSizeF, Qt
from qtpy.QtGui import QColor, QImage, QPainter
from qtpy.QtSvg import QSvgGenerator
from qtpy.QtWidgets import QSizePolicy, QWidget

from napari_dama.errors import OutputError
from napari_dama.export.atomic import replacing

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray
    from qtpy.QtGui import QPaintEvent

PNG_SCALE = 3
LEFT_MIDDLE = Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter
RIGHT_MIDDLE = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
CENTRE = Qt.AlignmentFlag.AlignCenter


class PaintedPlot(QWidget):
    """Base of the plots: subclasses paint in `draw`, which serves screen and file alike."""

    least_px = 180

    def __init__(self, *, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        self.setMinimumSize(100, self.least_px)
        self.setMouseTracking(True)
        self.placeholder = ""

    def draw(self, painter: QPainter, size: QSizeF, ink: QColor, ground: QColor) -> None:
        """Paint everything into a box of a size, upper left at 0, 0."""
        raise NotImplementedError

    def say_instead(self, text: str) -> None:
        """Write why there is no plot in the place of one; an empty text writes nothing."""
        self.placeholder = text
        self.update()

    def sizeHint(self) -> QSize:
        """Return a pleasant size."""
        return QSize(420, 360)

    def paintEvent(self, event: QPaintEvent | None) -> None:
        """Paint on the screen."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        palette = self.palette()
        if self.placeholder:
            painter.setPen(palette.windowText().color())
            room = QRectF(self.rect()).adjusted(12, 12, -12, -12)
            painter.drawText(room, CENTRE.value | Qt.TextFlag.TextWordWrap.value, self.placeholder)
            painter.end()
            return
        self.draw(painter, QSizeF(self.size()), palette.windowText().color(), palette.window().color())
        painter.end()

    def save(self, file: Path) -> None:
        """Write the plot as it is shown into a ``.png`` (three times as fine) or ``.svg`` file, black on white.

        Raises
        ------
        OutputError
            The name ends otherwise, or the file cannot be written.
        """
        with replacing(file, overwrite=True) as part:
            size = self.saved_size()
            if file.suffix.lower() == ".png":
                image = QImage(size * PNG_SCALE, QImage.Format.Format_RGB32)
                image.fill(QColor("white"))
                painter = QPainter(image)
                painter.scale(PNG_SCALE, PNG_SCALE)
                self._paint_page(painter, QSizeF(size))
                written = image.save(str(part), "PNG")
            elif file.suffix.lower() == ".svg":
                generator = QSvgGenerator()
                generator.setFileName(str(part))
                generator.setSize(size)
                generator.setViewBox(QRectF(0, 0, size.width(), size.height()))
                generator.setTitle(file.stem)
                painter = QPainter()
                written = painter.begin(generator)
                if written:
                    self._paint_page(painter, QSizeF(size))
            else:
                raise OutputError(f"A picture's name ends in .png or .svg, not {file.suffix or 'nothing'!r}.")
            if not written:
                raise OutputError(f"{file} cannot be written.")

    def saved_size(self) -> QSize:
        """Return the size of a saved picture, px of the screen."""
        return self.size()

    def _paint_page(self, painter: QPainter, size: QSizeF) -> None:
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        font = self.font()
        painter.setFont(font)
        self.draw(painter, size, QColor("black"), QColor("white"))
        painter.end()


def small_font(painter: QPainter, factor: float = 0.85) -> None:
    """Make the painter write smaller."""
    font = painter.font()
    if font.pointSizeF() > 0:
        font.setPointSizeF(max(font.pointSizeF() * factor, 6.5))
    else:
        font.setPixelSize(max(int(font.pixelSize() * factor), 9))
    painter.setFont(font)


def elided(painter: QPainter, text: str, room: float) -> str:
    """Return a text cut to some pixels."""
    return painter.fontMetrics().elidedText(text, Qt.TextElideMode.ElideRight, int(room))


def upright(painter: QPainter, text: str, x: float, bottom: float, room: float) -> None:
    """Write a text upwards, centred on x, from the bottom on."""
    painter.save()
    painter.translate(x, bottom)
    painter.rotate(-90)
    height = painter.fontMetrics().height()
    painter.drawText(QRectF(0, -height / 2, room, height), LEFT_MIDDLE, elided(painter, text, room))
    painter.restore()


def image_of(rgba: NDArray[np.uint8]) -> QImage:
    """Return pixels (H, W, 4) as Qt's image."""
    pixels = np.ascontiguousarray(rgba, np.uint8)
    height, width = pixels.shape[:2]
    return QImage(pixels.tobytes(), width, height, 4 * width, QImage.Format.Format_RGBA8888).copy()


def nice_ticks(low: float, high: float, count: int) -> list[float]:
    """Return about ``count`` round values between two."""
    if not (np.isfinite(low) and np.isfinite(high)) or high <= low:
        return []
    raw = (high - low) / max(count, 1)
    power = 10.0 ** np.floor(np.log10(raw))
    step = next(float(power * f) for f in (1, 2, 2.5, 5, 10) if power * f >= raw * 0.999)
    first = np.ceil(low / step - 1e-9)
    ticks = np.arange(first, np.floor(high / step + 1e-9) + 1) * step
    return [float(round(tick, 12)) for tick in ticks]
