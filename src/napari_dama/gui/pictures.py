"""Six small pictures of an explanation: what the model saw, what it filled in, and its error, for both masks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import Qt
from qtpy.QtGui import QImage, QPixmap
from qtpy.QtWidgets import QGridLayout, QLabel, QSizePolicy, QWidget

from napari_dama.gui.explain_plan import MASKS, view_of
from napari_dama.gui.style import muted
from napari_dama.slides.picture import composite, linear

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from napari_dama.predict.explain import Explanation

SIDE_PX = 88


class Pictures(QWidget):
    """A grid: one row per mask."""

    def __init__(self, *, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        grid = QGridLayout(self)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setSpacing(4)
        self.labels: dict[tuple[str, int], QLabel] = {}
        for column, title in enumerate(("saw", "filled in", "error")):
            head = muted(QLabel(title))
            head.setAlignment(Qt.AlignmentFlag.AlignHCenter)
            grid.addWidget(head, 0, column)
        for row, (mask, name) in enumerate(MASKS.items()):
            grid.addWidget(muted(QLabel(name)), 2 * row + 1, 0, 1, 3)
            for column in range(3):
                label = QLabel()
                label.setFixedSize(SIDE_PX, SIDE_PX)
                label.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Fixed)
                self.labels[mask, column] = label
                grid.addWidget(label, 2 * row + 2, column, Qt.AlignmentFlag.AlignHCenter)

    def show_explanation(self, explanation: Explanation, colours: Mapping[int, str]) -> None:
        """Show an explanation in the markers' colours (C places of the panel)."""
        source = composite(linear(explanation.input), colours)
        top = max(float(explanation.error_random.max()), float(explanation.error_adaptive.max()), 1e-6)
        for mask in MASKS:
            view = view_of(explanation, mask)
            hidden = explanation.spread(view.hidden)
            seen = np.where(hidden[..., None], np.uint8(70), source)
            error = _heat(explanation.spread(view.error) / top)
            for column, picture in enumerate((seen, composite(view.filled, colours), error)):
                self.labels[mask, column].setPixmap(_pixmap(picture))


def _heat(share: NDArray[np.floating[Any]]) -> NDArray[np.uint8]:
    """Return an RGB picture of values in 0..1, from black over red to pale yellow."""
    stops = np.array([[0, 0, 4], [114, 31, 129], [241, 96, 93], [252, 253, 191]], dtype=np.float32)
    places = np.clip(share, 0, 1)
    return np.stack([np.interp(places, np.linspace(0, 1, 4), stops[:, c]) for c in range(3)], axis=-1).astype(
        np.uint8
    )


def _pixmap(picture: NDArray[np.uint8]) -> QPixmap:
    data = np.ascontiguousarray(picture)
    height, width = data.shape[:2]
    image = QImage(data.tobytes(), width, height, 3 * width, QImage.Format.Format_RGB888)
    return QPixmap.fromImage(image).scaled(
        SIDE_PX, SIDE_PX, Qt.AspectRatioMode.KeepAspectRatio, Qt.TransformationMode.SmoothTransformation
    )
