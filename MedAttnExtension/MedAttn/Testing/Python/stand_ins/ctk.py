"""Widgets of CTK that the panel uses, as far as it uses them: :mod:`stand_ins.widgets` makes stand-ins of them."""

from __future__ import annotations

from typing import ClassVar

from PySide6 import QtCore, QtWidgets
from PySide6.QtCore import Property, Signal


class CollapsibleButton(QtWidgets.QGroupBox):
    """ctk: a section that can be folded; drawn as a group box."""

    def __init__(self, parent=None) -> None:
        super().__init__(parent)
        self._collapsed, self._words = False, ""
        self.setStyleSheet(
            "QGroupBox {font-weight: bold; border: 1px solid #c8c8c8; border-radius: 3px; margin-top: 18px;} "
            "QGroupBox::title {subcontrol-origin: margin; left: 4px; top: 1px;}"
        )

    def _text(self) -> str:
        return self._words

    def _set_text(self, text: str) -> None:
        self._words = text
        self._fold()

    def _is_collapsed(self) -> bool:
        return self._collapsed

    def _set_collapsed(self, collapsed: bool) -> None:
        self._collapsed = collapsed
        self._fold()

    def _fold(self) -> None:
        arrow = (
            "\N{BLACK RIGHT-POINTING SMALL TRIANGLE}" if self._collapsed else "\N{BLACK DOWN-POINTING SMALL TRIANGLE}"
        )
        self.setTitle(f"{arrow} {self._words}")
        self.setMaximumHeight(20 if self._collapsed else 16777215)

    text = Property(str, _text, _set_text)
    collapsed = Property(bool, _is_collapsed, _set_collapsed)


class PathLineEdit(QtWidgets.QWidget):
    """ctk: a line for a path, and a button that asks for a file unless the filters leave folders alone."""

    currentPathChanged = Signal(str)
    FLAGS: ClassVar = {
        **{"Dirs": 0x1, "Files": 0x2, "Drives": 0x4, "NoSymLinks": 0x8, "AllEntries": 0x7},
        **{"Readable": 0x10, "Writable": 0x20, "Executable": 0x40, "Hidden": 0x100, "System": 0x200},
        **{"NoDot": 0x2000, "NoDotDot": 0x4000},
    }

    def __init__(self, parent=None) -> None:
        super().__init__(parent)
        self._filters = self.FLAGS["AllEntries"]
        self._line = QtWidgets.QLineEdit(self)
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._line)
        self._line.textChanged.connect(self.currentPathChanged)

    def _path(self) -> str:
        return self._line.text()

    def _set_path(self, path: str) -> None:
        self._line.setText(path)

    def _set_filters(self, filters: int) -> None:
        self._filters = filters

    currentPath = Property(str, _path, _set_path)
    filters = Property(int, lambda self: self._filters, _set_filters)

    @property
    def asks_for_files(self) -> bool:
        """Whether the button opens a dialog of files, in which no folder can be chosen."""
        return bool(self._filters & self.FLAGS["Files"])


class SliderWidget(QtWidgets.QWidget):
    """ctk: a slider with a number."""

    valueChanged = Signal(float)

    def __init__(self, parent=None) -> None:
        super().__init__(parent)
        self._slider, self._spin = QtWidgets.QSlider(QtCore.Qt.Horizontal, self), QtWidgets.QDoubleSpinBox(self)
        self._slider.setRange(0, 1000)
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._slider)
        layout.addWidget(self._spin)
        self._spin.valueChanged.connect(self._changed)
        self._slider.valueChanged.connect(self._slid)

    def _changed(self, value: float) -> None:
        low, high = self._spin.minimum(), self._spin.maximum()
        self._slider.blockSignals(True)
        self._slider.setValue(round(1000 * (value - low) / (high - low)) if high > low else 0)
        self._slider.blockSignals(False)
        self.valueChanged.emit(value)

    def _slid(self, position: int) -> None:
        low, high = self._spin.minimum(), self._spin.maximum()
        self._spin.setValue(low + position / 1000 * (high - low))

    value = Property(float, lambda self: self._spin.value(), lambda self, value: self._spin.setValue(value))
    minimum = Property(float, lambda self: self._spin.minimum(), lambda self, value: self._spin.setMinimum(value))
    maximum = Property(float, lambda self: self._spin.maximum(), lambda self, value: self._spin.setMaximum(value))
    singleStep = Property(float, lambda self: self._spin.singleStep(), lambda self, v: self._spin.setSingleStep(v))
    decimals = Property(int, lambda self: self._spin.decimals(), lambda self, value: self._spin.setDecimals(value))
