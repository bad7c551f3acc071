"""Widgets in the manner of PythonQt, and those of MRML and CTK that the panel uses, on PySide6.

What PythonQt has as attribute (every Qt property) is an attribute here and no method; ``connect("signal(type)", slot)``
refuses a signal that the class does not have; setting an attribute that is no property raises. So a name that is
misspelt fails here as it would in the application. What this cannot show is PythonQt itself.
"""

from __future__ import annotations

import contextlib
import types
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import slicer
from PySide6 import QtCore, QtGui, QtUiTools, QtWidgets
from PySide6.QtCore import Property, QMetaObject, Signal

from stand_ins import ctk

_SIGNAL_TYPES = {"vtkMRMLNode*": "QVariant", "QTableWidgetItem*": "QTableWidgetItem*"}


def _properties(cls) -> dict:
    """A Python property for each Qt property of a class, through its C++ getter and setter.

    Not through ``QObject.property``: that asks Python for the attribute first, and so itself, without end.
    """
    found = {}
    meta = cls.staticMetaObject
    for index in range(meta.propertyCount()):
        name = meta.property(index).name()
        if isinstance(getattr(cls, name, None), Property):
            continue  # made below, and an attribute already
        capital = name[0].upper() + name[1:]
        getter = getattr(cls, name, None) or getattr(cls, f"is{capital}", None) or getattr(cls, f"has{capital}", None)
        if getter is None:
            continue
        setter = getattr(cls, f"set{capital}", None)

        def read(self, getter=getter):
            return getter(self)

        def write(self, value, setter=setter):
            setter(self, value)

        found[name] = property(read, write if setter is not None else None)
    return found


_KEPT: list = []
"""Panels that were made: destroying them by garbage collection, in any order, is more than PySide6 bears."""


class Strict:
    """What every stand-in does: signals by their signature, no unknown attributes."""

    def __getattribute__(self, name: str):
        if name in ("connect", "disconnect"):  # PySide6 puts its own before those of a subclass
            return types.MethodType(vars(Strict)[name], self)
        return super().__getattribute__(name)

    def connect(self, signature: str, slot) -> bool:
        getattr(self, self._signal(signature)).connect(slot)
        return True

    def disconnect(self, signature: str, slot) -> bool:
        getattr(self, self._signal(signature)).disconnect(slot)
        return True

    def _signal(self, signature: str) -> str:
        name, _, types_of = signature.rstrip(")").partition("(")
        types_of = ",".join(_SIGNAL_TYPES.get(one, one) for one in types_of.split(","))
        normal = bytes(QMetaObject.normalizedSignature(f"{name}({types_of})")).decode()
        if self.metaObject().indexOfSignal(normal) < 0:
            raise AttributeError(f"{type(self).__name__} has no signal {signature}")
        return name

    def __setattr__(self, name: str, value) -> None:
        of_the_loader = isinstance(value, QtCore.QObject)  # it hangs each child on the root by its name
        if not name.startswith("_") and not hasattr(type(self), name) and not of_the_loader:
            raise AttributeError(f"{type(self).__name__} has no property {name!r}")
        super().__setattr__(name, value)


LINKS = {
    "QCheckBox": ("checked", "stateChanged(int)"),
    "QLineEdit": ("text", "textChanged(QString)"),
    "ctkSliderWidget": ("value", "valueChanged(double)"),
    "qMRMLNodeComboBox": (None, "currentNodeChanged(vtkMRMLNode*)"),
}
"""Widgets that a parameter can follow: the property, and the signal after which it has changed."""


def _stand_in(cls, name: str | None = None):
    name = name or cls.__name__
    members = {**_properties(cls), "parameter_link": LINKS.get(name)}
    if members["parameter_link"] is None:
        del members["parameter_link"]
    return type(name, (Strict, cls), members)


class _NodeComboBox(QtWidgets.QComboBox):
    """qMRML: nodes of some classes of a scene; follows what comes, goes and is renamed."""

    currentNodeChanged = Signal("QVariant")

    def __init__(self, parent=None) -> None:
        super().__init__(parent)
        self._types, self._children, self._none = [], True, False
        self._add = self._remove = True
        self._scene, self._tags = None, []
        self._current = None
        self.activated.connect(self._chosen)

    nodeTypes = Property("QStringList", lambda self: self._types, lambda self, value: self._set("_types", value))
    showChildNodeTypes = Property(bool, lambda self: self._children, lambda self, v: self._set("_children", v))
    noneEnabled = Property(bool, lambda self: self._none, lambda self, value: self._set("_none", value))
    addEnabled = Property(bool, lambda self: self._add, lambda self, value: self._set("_add", value))
    removeEnabled = Property(bool, lambda self: self._remove, lambda self, value: self._set("_remove", value))

    def _set(self, name: str, value) -> None:
        setattr(self, name, list(value) if isinstance(value, (list, tuple)) else value)
        self._fill()

    def setMRMLScene(self, scene) -> None:
        for tag in self._tags:
            self._scene.RemoveObserver(tag)
        self._scene, self._tags = scene, []
        if scene is not None:
            events = (scene.NodeAddedEvent, scene.NodeRemovedEvent, scene.EndCloseEvent)
            self._tags = [scene.AddObserver(event, self._fill) for event in events]
        self._fill()

    def _nodes(self) -> list:
        if self._scene is None:
            return []
        found = []
        for index in range(self._scene.GetNumberOfNodes()):
            node = self._scene.GetNthNode(index)
            exact = node.GetClassName() in self._types
            derived = self._children and any(node.IsA(kind) for kind in self._types)
            if (exact or derived) and not node.GetHideFromEditors():
                found.append(node)
        return found

    def _fill(self, *_arguments) -> None:
        there = self._nodes()
        self.blockSignals(True)
        self.clear()
        if self._none or not there:
            self.addItem("None", None)
        for node in there:
            self.addItem(node.GetName(), node.GetID())
        gone = self._current is not None and self._current not in there
        if gone:
            self._current = None
        self._show()
        self.blockSignals(False)
        if gone:
            self.currentNodeChanged.emit(None)

    def _show(self) -> None:
        index = self.findData(self._current.GetID()) if self._current is not None else self.findData(None)
        self.setCurrentIndex(max(0, index))

    def _chosen(self, index: int) -> None:
        node_id = self.itemData(index)
        self.setCurrentNode(self._scene.GetNodeByID(node_id) if node_id else None)

    def currentNode(self):
        return self._current

    def setCurrentNode(self, node) -> None:
        if node is not None and node not in self._nodes():
            raise ValueError(f"{node.GetName()} is no node that this selector offers")
        if node is not self._current:
            self._current = node
            self._fill()
            self.currentNodeChanged.emit(node)


class _MRMLWidget(QtWidgets.QWidget):
    """qMRML: the widget that all others lie in."""

    def setMRMLScene(self, scene) -> None:
        self.__dict__["_scene"] = scene


CLASSES = {
    **{
        name: _stand_in(getattr(QtWidgets, name))
        for name in (
            *("QWidget", "QLabel", "QPushButton", "QCheckBox", "QComboBox", "QLineEdit", "QProgressBar"),
            *("QTableWidget", "QFrame"),
        )
    },
    "ctkCollapsibleButton": _stand_in(ctk.CollapsibleButton, "ctkCollapsibleButton"),
    "ctkPathLineEdit": _stand_in(ctk.PathLineEdit, "ctkPathLineEdit"),
    "ctkSliderWidget": _stand_in(ctk.SliderWidget, "ctkSliderWidget"),
    "qMRMLNodeComboBox": _stand_in(_NodeComboBox, "qMRMLNodeComboBox"),
    "qMRMLWidget": _stand_in(_MRMLWidget, "qMRMLWidget"),
}


class _Loader(QtUiTools.QUiLoader):
    """Makes stand-ins of the widgets of a .ui file; refuses classes and properties that it does not know."""

    def createWidget(self, class_name: str, parent=None, name: str = ""):
        if class_name not in CLASSES:
            raise ValueError(f"the .ui file uses {class_name}, for which there is no stand-in")
        widget = CLASSES[class_name](parent)
        widget.setObjectName(name)
        self.__dict__.setdefault("made", {})[name] = widget  # else Python lets go of them
        return widget


def unknown_properties(path: str | Path) -> list[str]:
    """Properties in a .ui file that the widget's class does not have."""
    wrong = []
    for widget in ElementTree.parse(path).iter("widget"):
        meta = CLASSES[widget.get("class")].staticMetaObject
        for entry in widget.findall("property"):
            name = entry.get("name")
            if entry.get("stdset") != "0" and name != "buddy" and meta.indexOfProperty(name) < 0:
                wrong.append(f"{widget.get('name')}.{entry.get('name')}")
    return wrong


def _without_flags(tree: ElementTree.ElementTree) -> dict[tuple[str, str], int]:
    """Take sets of flags out, which PySide6 knows of its own classes only.

    Returns:
        Their values by the names of widget and property.
    """
    taken = {}
    for widget in tree.iter("widget"):
        kind = CLASSES.get(widget.get("class"))
        for entry in widget.findall("property") if hasattr(kind, "FLAGS") else ():
            if entry.find("set") is not None:
                words = [word.removeprefix(f"{widget.get('class')}::") for word in entry.findtext("set").split("|")]
                value = sum({kind.FLAGS[word] for word in words})  # a KeyError: no such flag
                taken[widget.get("name"), entry.get("name")] = value
                widget.remove(entry)
    return taken


def load_ui(path: str | Path):
    """As slicer.util.loadUI."""
    loader, tree = _Loader(), ElementTree.parse(path)
    flags, buffer = _without_flags(tree), QtCore.QBuffer()
    buffer.setData(ElementTree.tostring(tree.getroot()))
    buffer.open(QtCore.QBuffer.ReadOnly)
    widget = loader.load(buffer)
    if widget is None:
        raise ValueError(f"{path}: {loader.errorString()}")
    for (name, entry), value in flags.items():
        setattr(loader.__dict__["made"][name], entry, value)
    widget.__dict__["_made"] = loader.__dict__["made"]
    _KEPT.append(widget)
    return widget


def child_widgets(widget) -> types.SimpleNamespace:
    """As slicer.util.childWidgetVariables: all widgets below by their names."""
    return types.SimpleNamespace(
        **{name: made for name, made in widget.__dict__["_made"].items() if made is not widget}
    )


class _Timer(QtCore.QTimer):
    """QTimer."""


def qt_module() -> types.ModuleType:
    """The module ``qt`` of the application, as far as the library uses it."""
    module = types.ModuleType("qt")
    for name in ("QTableWidgetItem", "QHeaderView", "QAbstractItemView"):
        setattr(module, name, getattr(QtWidgets, name))
    for name, cls in CLASSES.items():
        if name.startswith("Q"):
            setattr(module, name, cls)
    module.Qt, module.QEventLoop, module.QSize = QtCore.Qt, QtCore.QEventLoop, QtCore.QSize
    module.QIcon, module.QColor = QtGui.QIcon, QtGui.QColor
    module.QTimer = _stand_in(_Timer, "QTimer")
    return module


def application() -> QtWidgets.QApplication:
    """The one application object, off screen."""
    found = QtWidgets.QApplication.instance()
    if found is None:
        found = QtWidgets.QApplication(["medattn"])
        found.setStyle("Fusion")
        _KEPT.append(found)
    return found


def install() -> None:
    """``import qt``, ``slicer.util.loadUI`` and ``childWidgetVariables`` lead here."""
    import sys

    application()
    sys.modules["qt"] = qt_module()
    slicer.util.loadUI, slicer.util.childWidgetVariables = load_ui, child_widgets
    with contextlib.suppress(AttributeError):
        del slicer.qt
