"""Cells as dots on a plane, a hundred thousand at once: zoom, move, and draw around cells to select them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QPointF, QRectF, QSize, QSizeF, Qt
from qtpy.QtCore import Signal as QtSignal  # type: ignore[attr-defined]
from qtpy.QtGui import QColor, QImage, QPainter, QPen, QPolygonF
from skimage.measure import points_in_poly

from napari_dama.gui.painted import CENTRE, LEFT_MIDDLE, PaintedPlot, elided, image_of, small_font, upright
from napari_dama.gui.raster import dot_radius, rasterise

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from qtpy.QtGui import QMouseEvent, QWheelEvent
    from qtpy.QtWidgets import QWidget

CLICK_PX = 6.0
MOST_RINGS = 400
MOST_CIRCLES = 5000
"""Dots that a file holds as circles; more are one picture in it, else it would be slow to open."""
MOST_SMOOTH = 20_000
"""Dots that are drawn twice as fine, for round edges."""
MARGIN = 0.06


class Scatter(PaintedPlot):
    """Dots with two axes. Wheel zooms, the right button moves, the left one draws around cells; a double click shows all.

    Signals
    -------
    chosen(rows, add)
        Rows (k,) of the points were drawn around or clicked; ``add`` where Shift or Ctrl was held.
    """

    chosen = QtSignal(object, bool)

    def __init__(self, *, parent: QWidget | None = None) -> None:
        super().__init__(parent=parent)
        self.points = np.zeros((0, 2), np.float32)
        self.rgba = np.zeros((0, 4), np.uint8)
        self.axes = ("", "")
        self.key: tuple[tuple[str, str], ...] = ()
        self.selected = np.zeros(0, np.int64)
        self.view = QRectF(0, 0, 1, 1)
        self._order = np.zeros(0, np.int64)
        self._lasso: list[QPointF] = []
        self._moved_from: QPointF | None = None
        self._cache: tuple[Any, QImage] | None = None
        self._version = 0
        self.setCursor(Qt.CursorShape.CrossCursor)

    # -- what is shown ---------------------------------------------------------------------------------------

    def show_points(self, points: NDArray[np.float32], axes: tuple[str, str]) -> None:
        """Show points (n, 2), NaN for none, and zoom out; colours follow by `show_colours`."""
        self.points = np.asarray(points, np.float32)
        self.axes = axes
        self._order = np.random.default_rng(0).permutation(len(self.points))  # no class lies on top of all
        if len(self.rgba) != len(self.points):
            self.rgba = np.full((len(self.points), 4), 160, np.uint8)
        self.selected = self.selected[self.selected < len(self.points)]
        self.show_all()

    def show_colours(self, rgba: NDArray[np.uint8], key: tuple[tuple[str, str], ...] = ()) -> None:
        """Give each point a colour (n, 4), alpha 0 hides it; a saved picture has the key (colour, words) beside it."""
        self.rgba, self.key = rgba, key
        self._changed()

    def show_selected(self, rows: NDArray[np.int64]) -> None:
        """Mark points by their rows (k,)."""
        self.selected = rows[rows >= 0]
        self._changed()

    def show_all(self) -> None:
        """Zoom out to all points."""
        known = self.points[np.isfinite(self.points).all(axis=1)]
        if len(known):
            low, high = known.min(axis=0).astype(float), known.max(axis=0).astype(float)
            span = np.where(high > low, high - low, 1.0)
            low, span = low - MARGIN * span, span * (1 + 2 * MARGIN)
            self.view = QRectF(float(low[0]), float(low[1]), float(span[0]), float(span[1]))
        self._changed()

    def _changed(self) -> None:
        self._version += 1
        self.update()

    def frame_of(self, size: QSizeF) -> QRectF:
        """Return the box of the dots within the plot."""
        line = self.fontMetrics().height()
        return QRectF(line + 2, 2, max(size.width() - line - 4, 10), max(size.height() - line - 6, 10))

    def to_pixels(self, size: QSizeF, frame: QRectF | None = None) -> NDArray[np.float64]:
        """Return where the points (n, 2) lie in the plot: x, y in px."""
        frame = self.frame_of(size) if frame is None else frame
        x = frame.left() + (self.points[:, 0] - self.view.left()) / self.view.width() * frame.width()
        y = frame.bottom() - (self.points[:, 1] - self.view.top()) / self.view.height() * frame.height()
        return np.stack([x, y], axis=1).astype(np.float64)

    # -- painting --------------------------------------------------------------------------------------------

    def draw(self, painter: QPainter, size: QSizeF, ink: QColor, ground: QColor) -> None:
        """Paint dots, axes, marks, and the line that is being drawn."""
        small_font(painter)
        device = painter.device()
        on_screen = device is self
        beside = 0.0 if on_screen else self._draw_key(painter, size, ink)
        painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform)
        frame = self.frame_of(QSizeF(size.width() - beside, size.height()))
        places = self.to_pixels(size, frame)
        ratio = self.devicePixelRatioF() if on_screen else 3.0
        if on_screen and len(self.points) <= MOST_SMOOTH:
            ratio *= 2
        vector = not on_screen and not isinstance(device, QImage)
        radius = dot_radius(len(self.points), min(frame.width(), frame.height()))
        if vector and len(self.points) <= MOST_CIRCLES:
            self._draw_circles(painter, places, frame, radius)
        else:
            painter.drawImage(frame, self._dots(places, frame, ratio, radius, keep=on_screen))
        self._draw_marks(painter, places, frame, radius, ink, ground)
        faint = QColor(ink)
        faint.setAlpha(120)
        painter.setPen(QPen(faint, 1))
        painter.setBrush(Qt.BrushStyle.NoBrush)
        painter.drawRect(frame)
        painter.setPen(ink)
        below = QRectF(frame.left(), frame.bottom() + 2, frame.width(), painter.fontMetrics().height())
        painter.drawText(below, CENTRE, elided(painter, self.axes[0], frame.width()))
        width = min(painter.fontMetrics().horizontalAdvance(self.axes[1]) + 2.0, frame.height())
        upright(
            painter,
            self.axes[1],
            frame.left() / 2,
            frame.center().y() + width / 2,
            width,
        )
        if on_screen and self._lasso:
            painter.setPen(QPen(ink, 1.5, Qt.PenStyle.DashLine))
            painter.drawPolyline(QPolygonF(self._lasso))

    def saved_size(self) -> QSize:
        """Return the size of the plot, with room for the key beside it."""
        return QSize(self.width() + int(self._key_px()), self.height())

    def _key_px(self) -> float:
        widest = max((self.fontMetrics().horizontalAdvance(words) for _, words in self.key), default=0)
        return 1.1 * widest + 28.0 if self.key else 0.0

    def _draw_key(self, painter: QPainter, size: QSizeF, ink: QColor) -> float:
        """Write what the colours mean on the right, and return the room that takes."""
        if not self.key:
            return 0.0
        metrics, room = painter.fontMetrics(), self._key_px()
        left = size.width() - room + 8
        for place, (colour, words) in enumerate(self.key):
            y = 4 + place * (metrics.height() + 2)
            if colour:
                painter.fillRect(QRectF(left, y + metrics.height() / 2 - 4, 8, 8), QColor(colour))
            painter.setPen(ink)
            box = QRectF(left + (12 if colour else 0), y, room - 22, metrics.height())
            painter.drawText(box, LEFT_MIDDLE, elided(painter, words, box.width()))
        return room

    def _dots(
        self, places: NDArray[np.float64], frame: QRectF, ratio: float, radius: float, *, keep: bool
    ) -> QImage:
        """Return the dots as a picture; the screen's is kept until something changes."""
        key = (self._version, frame.width(), frame.height(), ratio, self.view.getRect())
        if keep and self._cache is not None and self._cache[0] == key:
            return self._cache[1]
        shape = (max(int(frame.height() * ratio), 1), max(int(frame.width() * ratio), 1))
        inside = (places[self._order] - [frame.left(), frame.top()]) * ratio
        rgba = self.rgba[self._order]
        if len(self.selected):  # the others step back
            rgba = rgba.copy()
            others = ~np.isin(self._order, self.selected)
            rgba[others, :3] = (rgba[others, :3].astype(np.uint16) * 2 // 5 + 76).astype(np.uint8)
            late = np.argsort(~others, kind="stable")
            inside, rgba = inside[late], rgba[late]
        image = image_of(rasterise(inside, rgba, shape, radius * ratio))
        if keep:
            self._cache = (key, image)
        return image

    def _draw_circles(
        self, painter: QPainter, places: NDArray[np.float64], frame: QRectF, radius: float
    ) -> None:
        painter.save()
        painter.setClipRect(frame)
        painter.setPen(Qt.PenStyle.NoPen)
        for row in self._order.tolist():
            red, green, blue, alpha = (int(v) for v in self.rgba[row])
            if alpha and np.isfinite(places[row]).all():
                painter.setBrush(QColor(red, green, blue))
                painter.drawEllipse(QPointF(*places[row]), radius, radius)
        painter.restore()

    def _draw_marks(
        self,
        painter: QPainter,
        places: NDArray[np.float64],
        frame: QRectF,
        radius: float,
        ink: QColor,
        ground: QColor,
    ) -> None:
        """Ring the selected points, as long as rings can be told apart."""
        if not 0 < len(self.selected) <= MOST_RINGS:
            return
        painter.save()
        painter.setClipRect(frame)
        painter.setBrush(Qt.BrushStyle.NoBrush)
        for colour, width in ((ground, 3.5), (ink, 1.5)):
            painter.setPen(QPen(colour, width))
            for x, y in places[self.selected]:
                if np.isfinite(x) and np.isfinite(y):
                    painter.drawEllipse(QPointF(x, y), radius + 3, radius + 3)
        painter.restore()

    # -- the mouse -------------------------------------------------------------------------------------------

    def wheelEvent(self, event: QWheelEvent | None) -> None:
        """Zoom at the mouse."""
        if event is None or not event.angleDelta().y():
            return
        frame, place = self.frame_of(QSizeF(self.size())), event.position()
        u = (place.x() - frame.left()) / frame.width()
        v = (frame.bottom() - place.y()) / frame.height()
        factor = 0.8 ** (event.angleDelta().y() / 120)
        width, height = self.view.width() * factor, self.view.height() * factor
        self.view = QRectF(
            self.view.left() + u * (self.view.width() - width),
            self.view.top() + v * (self.view.height() - height),
            width,
            height,
        )
        self._changed()
        event.accept()

    def mousePressEvent(self, event: QMouseEvent | None) -> None:
        """Begin to draw around cells, or to move the plot."""
        if event is None:
            return
        if event.button() == Qt.MouseButton.LeftButton:
            self._lasso = [event.position()]
        elif event.button() in (Qt.MouseButton.RightButton, Qt.MouseButton.MiddleButton):
            self._moved_from = event.position()
            self.setCursor(Qt.CursorShape.ClosedHandCursor)

    def mouseMoveEvent(self, event: QMouseEvent | None) -> None:
        """Go on with it."""
        if event is None:
            return
        if self._lasso:
            self._lasso.append(event.position())
            self.update()
        elif self._moved_from is not None:
            frame = self.frame_of(QSizeF(self.size()))
            step = event.position() - self._moved_from
            self._moved_from = event.position()
            self.view.translate(
                -step.x() / frame.width() * self.view.width(), step.y() / frame.height() * self.view.height()
            )
            self._changed()

    def mouseReleaseEvent(self, event: QMouseEvent | None) -> None:
        """Tell what was drawn around, or clicked."""
        if event is None:
            return
        if self._moved_from is not None and event.button() != Qt.MouseButton.LeftButton:
            self._moved_from = None
            self.setCursor(Qt.CursorShape.CrossCursor)
            return
        lasso, self._lasso = self._lasso, []
        if not lasso or event.button() != Qt.MouseButton.LeftButton:
            return
        keys = Qt.KeyboardModifier.ShiftModifier | Qt.KeyboardModifier.ControlModifier
        add = bool(event.modifiers() & keys)
        corners = np.array([(point.x(), point.y()) for point in lasso])
        if np.ptp(corners, axis=0).max() < CLICK_PX:
            self.chosen.emit(self.rows_near(lasso[-1]), add)
        else:
            self.chosen.emit(self.rows_within(corners), add)
        self.update()

    def mouseDoubleClickEvent(self, event: QMouseEvent | None) -> None:
        """Show everything again."""
        self._lasso = []
        self.show_all()

    def rows_within(self, corners: NDArray[np.float64]) -> NDArray[np.int64]:
        """Return the rows of the visible points within a line drawn around them: corners (k, 2), x and y in px."""
        places = self.to_pixels(QSizeF(self.size()))
        with np.errstate(invalid="ignore"):
            near = (places >= corners.min(axis=0)).all(axis=1) & (places <= corners.max(axis=0)).all(axis=1)
        rows = np.flatnonzero(near & (self.rgba[:, 3] > 0))
        if not len(rows) or len(corners) < 3:
            return np.zeros(0, np.int64)
        return rows[points_in_poly(places[rows], corners)].astype(np.int64)  # type: ignore[no-untyped-call]

    def rows_near(self, place: QPointF) -> NDArray[np.int64]:
        """Return the row of the visible point next to a place, none when it is too far."""
        distance = np.hypot(*(self.to_pixels(QSizeF(self.size())) - [place.x(), place.y()]).T)
        distance = np.where(np.isfinite(distance) & (self.rgba[:, 3] > 0), distance, np.inf)
        if not len(distance) or distance.min() > CLICK_PX:
            return np.zeros(0, np.int64)
        return np.array([distance.argmin()], np.int64)
