"""Small pictures with captions that can be clicked, in a grid that fits a narrow dock."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import Qt
from qtpy.QtCore import Signal as QtSignal  # type: ignore[attr-defined]
from qtpy.QtGui import QImage, QPixmap
from qtpy.QtWidgets import QGridLayout, QLabel, QSizePolicy, QVBoxLayout, QWidget

from napari_dama.gui.style import muted

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray
    from qtpy.QtGui import QKeyEvent, QMouseEvent

SIDE_PX = 86


class Picture(QWidget):
    """One picture with its caption.

    Signals
    -------
    clicked(key)
        Pressed by mouse, or by Return or Space when it has the focus.
    """

    clicked = QtSignal(object)

    def __init__(
        self,
        key: object,
        caption: str,
        tip: str,
        *,
        side_px: int = SIDE_PX,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self.key = key
        self.side_px = side_px
        self.shown: NDArray[np.uint8] | None = None
        self._chosen: bool | None = None
        self.image = QLabel()
        self.image.setFixedSize(side_px + 4, side_px + 4)
        self.image.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.caption = muted(QLabel(caption))
        self.caption.setWordWrap(False)
        self.caption.setTextInteractionFlags(Qt.TextInteractionFlag.NoTextInteraction)
        self.caption.setAlignment(Qt.AlignmentFlag.AlignHCenter)
        self.caption.setMaximumWidth(side_px + 4)
        self.setToolTip(tip)
        self.setAccessibleName(caption)
        self.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self.setCursor(Qt.CursorShape.PointingHandCursor)
        self.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Fixed)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(1)
        layout.addWidget(self.image)
        layout.addWidget(self.caption)
        self.set_chosen(False)

    def set_picture(self, picture: NDArray[np.uint8] | None, *, smooth: bool = True) -> None:
        """Show an RGB picture (H, W, 3); None for an empty frame."""
        self.shown = picture
        self.image.setPixmap(QPixmap() if picture is None else pixmap(picture, self.side_px, smooth=smooth))

    def set_caption(self, text: str) -> None:
        """Change the words below the picture."""
        self.caption.setText(text)
        self.setAccessibleName(text)

    def set_chosen(self, chosen: bool) -> None:
        """Frame the picture that is shown on the slide."""
        if chosen is self._chosen:  # a style sheet that is set makes Qt go through all styles, changed or not
            return
        self._chosen = chosen
        colour = "palette(highlight)" if chosen else "transparent"
        self.image.setStyleSheet(f"border: 2px solid {colour};")

    def mousePressEvent(self, event: QMouseEvent | None) -> None:
        """Qt was clicked."""
        self.clicked.emit(self.key)

    def keyPressEvent(self, event: QKeyEvent | None) -> None:
        """Return and Space press, as on a button."""
        if event is not None and event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter, Qt.Key.Key_Space):
            self.clicked.emit(self.key)
            return
        super().keyPressEvent(event)


class Pictures(QWidget):
    """A grid of pictures with fixed captions, three in a row.

    Signals
    -------
    chosen(key)
        A picture was clicked.
    """

    chosen = QtSignal(object)

    def __init__(
        self, titles: Mapping[str, str], tips: Mapping[str, str], *, parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        grid = QGridLayout(self)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setSpacing(3)
        self.pictures: dict[str, Picture] = {}
        for place, (key, title) in enumerate(titles.items()):
            picture = Picture(key, title, tips[key])
            picture.clicked.connect(self.chosen.emit)
            self.pictures[key] = picture
            grid.addWidget(picture, place // 3, place % 3, Qt.AlignmentFlag.AlignHCenter)

    def show_pictures(self, pictures: Mapping[str, NDArray[np.uint8]], chosen: str) -> None:
        """Show pictures (H, W, 3) by their keys, and frame one of them."""
        for key, picture in self.pictures.items():
            picture.set_picture(pictures.get(key), smooth=key not in ("error", "overlap"))
            picture.set_chosen(key == chosen)

    def choose(self, chosen: str) -> None:
        """Frame one of the pictures."""
        for key, picture in self.pictures.items():
            picture.set_chosen(key == chosen)


def pixmap(picture: NDArray[np.uint8], side_px: int, *, smooth: bool = True) -> QPixmap:
    """Return a picture (H, W, 3) as a pixmap of a given side."""
    data: NDArray[Any] = np.ascontiguousarray(picture)
    height, width = data.shape[:2]
    image = QImage(data.tobytes(), width, height, 3 * width, QImage.Format.Format_RGB888)
    how = Qt.TransformationMode.SmoothTransformation if smooth else Qt.TransformationMode.FastTransformation
    return QPixmap.fromImage(image).scaled(side_px, side_px, Qt.AspectRatioMode.KeepAspectRatio, how)
