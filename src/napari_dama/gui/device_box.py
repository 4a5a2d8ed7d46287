"""The choice of a device; which there are is looked up when asked for, since that takes torch."""

from __future__ import annotations

from qtpy.QtCore import Signal as QtSignal  # type: ignore[attr-defined]
from qtpy.QtWidgets import QComboBox, QHBoxLayout, QPushButton, QWidget

from napari_dama.gui import tooltips
from napari_dama.gui.analyse_plan import device_lines
from napari_dama.gui.style import narrow
from napari_dama.gui.work import Work


class DeviceBox(QWidget):
    """A list of devices, and a button that looks for them and for their memory.

    Signals
    -------
    chosen(device), failed(error)
        The user chose a device; looking for devices went wrong.
    """

    chosen = QtSignal(str)
    failed = QtSignal(object)

    def __init__(self, *, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.work: Work | None = None
        self._device = "auto"
        self.list = narrow(QComboBox(), tooltips.DEVICE)
        self.look = QPushButton("Look")
        self.look.setToolTip(tooltips.FIND_DEVICES)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.list, stretch=1)
        layout.addWidget(self.look)
        self._fill([("cpu", "cpu")])
        self.list.activated.connect(self._on_chosen)
        self.look.clicked.connect(self.find_devices)

    def show_device(self, device: str) -> None:
        """Show which device is chosen."""
        self._device = device
        self.list.setCurrentIndex(max(self.list.findData(device), 0))

    def find_devices(self) -> None:
        """Look for devices in a thread."""
        if self.work is None:
            self.look.setEnabled(False)
            self.work = Work(device_lines, self)
            self.work.finished.connect(self._on_found)
            self.work.failed.connect(self._on_failed)
            self.work.start()

    def _fill(self, lines: list[tuple[str, str]]) -> None:
        self.list.clear()
        for name, title in [("auto", "auto"), *lines]:
            self.list.addItem(title, name)
            self.list.setItemData(self.list.count() - 1, title, 3)
        self.show_device(self._device)

    def _on_found(self, lines: list[tuple[str, str]]) -> None:
        self.work = None
        self.look.setEnabled(True)
        self._fill(lines)

    def _on_failed(self, error: Exception) -> None:
        self.work = None
        self.look.setEnabled(True)
        self.failed.emit(error)

    def _on_chosen(self, index: int) -> None:
        self.chosen.emit(str(self.list.itemData(index)))

    def close_down(self) -> None:
        """Let go of what runs: importing torch may take many seconds, and a window that closes must not wait."""
        if self.work is not None:
            self.work.let_go()
