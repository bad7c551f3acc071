"""Python modules of the application that slicer-core lacks: translation and parameter nodes."""

from __future__ import annotations

import sys
import types
import typing
import weakref
from dataclasses import dataclass

import slicer
import vtk


@dataclass(frozen=True)
class WithinRange:
    """As slicer.parameterNodeWrapper.WithinRange."""

    minimum: float
    maximum: float

    def check(self, value) -> None:
        if not self.minimum <= value <= self.maximum:
            raise ValueError(f"{value} is not within {self.minimum} and {self.maximum}")


@dataclass(frozen=True)
class Choice:
    """As slicer.parameterNodeWrapper.Choice."""

    choices: list

    def check(self, value) -> None:
        if value not in self.choices:
            raise ValueError(f"{value!r} is none of {self.choices}")


class _Parameter:
    """One typed value on a vtkMRMLScriptedModuleNode: nodes as references, the rest as text."""

    def __init__(self, name: str, kind, default) -> None:
        self.name = name
        arguments = typing.get_args(kind) if typing.get_origin(kind) is typing.Annotated else (kind,)
        self.kind, self.checks = arguments[0], [check for check in arguments[1:] if hasattr(check, "check")]
        union = typing.get_origin(self.kind) is typing.Union
        self.kinds = tuple(k for k in typing.get_args(self.kind) if k is not type(None)) if union else (self.kind,)
        self.is_node = all(isinstance(kind, type) and issubclass(kind, slicer.vtkMRMLNode) for kind in self.kinds)
        if union and not (self.is_node and type(None) in typing.get_args(self.kind)):
            raise TypeError(f"parameter {name}: a union has to be of nodes and None")
        # As Slicer: a selector is told the class names of instances, which an abstract class has none of.
        self.node_types = [kind().GetClassName() for kind in self.kinds] if self.is_node else []
        if not self.is_node and self.kind not in (str, int, float, bool):
            raise TypeError(f"parameter {name}: {self.kind} is a type that this stand-in does not know")
        self.default = default if default is not None else (None if self.is_node else self.kind())

    def __get__(self, wrapper, owner=None):
        if wrapper is None:
            return self
        return wrapper._read[self.name]

    def read(self, node):
        """The value on the node; written there first where it is missing, as Slicer does."""
        if self.is_node:
            return node.GetNodeReference(self.name)
        if not node.HasParameter(self.name):
            node.SetParameter(self.name, self._text(self.default))
        text = node.GetParameter(self.name)
        if not text:
            return self.kind()
        return text == "True" if self.kind is bool else self.kind(text)

    @staticmethod
    def _text(value) -> str:
        return repr(value) if not isinstance(value, str) else value

    def __set__(self, wrapper, value) -> None:
        node = wrapper.parameterNode
        value = self._checked(value)
        modifying = node.StartModify()
        if self.is_node:
            node.SetNodeReferenceID(self.name, value.GetID() if value is not None else None)
        else:
            node.SetParameter(self.name, self._text(value))
        wrapper._read[self.name] = self.read(node)  # before anybody is told
        node.EndModify(modifying)

    def _checked(self, value):
        if self.is_node:
            if value is not None and not isinstance(value, self.kinds):
                raise TypeError(f"{self.name}: one of {self.node_types} is needed, not {type(value).__name__}")
            return value
        if self.kind is float and isinstance(value, int):
            value = float(value)
        if not isinstance(value, self.kind):
            raise TypeError(f"{self.name}: a {self.kind.__name__} is needed, not {type(value).__name__}")
        for check in self.checks:
            check.check(value)
        return value


class _Cache:
    """What was read of the node: again only when it is modified, which a reference that resolves later does not do."""

    def __init__(self, node, parameters: dict[str, _Parameter]) -> None:
        self.node, self.parameters, itself = node, parameters, weakref.ref(self)
        self.values = {name: parameter.read(node) for name, parameter in parameters.items()}
        # Weakly: otherwise nothing that looks at the node could ever be let go of.
        self.tag = node.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *_: itself().read())

    def read(self) -> None:
        for name, parameter in self.parameters.items():
            self.values[name] = parameter.read(self.node)

    def __getitem__(self, name: str):
        return self.values[name]

    def __setitem__(self, name: str, value) -> None:
        self.values[name] = value

    def __del__(self) -> None:
        self.node.RemoveObserver(self.tag)


def parameterNodeWrapper(cls):
    """As slicer.parameterNodeWrapper.parameterNodeWrapper, as far as the module uses it."""
    hints = typing.get_type_hints(cls, include_extras=True)
    parameters = {name: _Parameter(name, kind, cls.__dict__.get(name)) for name, kind in hints.items()}

    def __init__(self, parameterNode) -> None:
        object.__setattr__(self, "parameterNode", parameterNode)
        self._gui, self._next, self._read = {}, 0, _Cache(parameterNode, parameters)

    def __setattr__(self, name, value) -> None:
        if name not in parameters and not name.startswith("_"):
            raise AttributeError(f"{cls.__name__} has no parameter {name!r}")
        object.__setattr__(self, name, value)

    def connectParametersToGui(self, mapping) -> int:
        """Widgets and parameters follow each other. As in 5.10 the observer cannot be taken back."""
        for name in mapping:
            if name not in parameters:
                raise ValueError(f"the .ui file names a parameter {name!r} that does not exist")
        tag, self._next = self._next, self._next + 1
        self._gui[tag] = [_Link(self, parameters[name], widget) for name, widget in mapping.items()]
        every = self._gui
        self.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *_: [i.show() for links in every.values() for i in links])
        return tag

    def connectGui(self, ui) -> None:
        """As in 5.10, the tag is lost."""
        found = ((widget.property("SlicerParameterName"), widget) for widget in vars(ui).values())
        self.connectParametersToGui({name: widget for name, widget in found if name})

    def disconnectGui(self, tag) -> None:
        for link in self._gui.pop(tag, []):
            link.cut()

    members = {
        "__init__": __init__,
        "__setattr__": __setattr__,
        "connectGui": connectGui,
        "connectParametersToGui": connectParametersToGui,
        "disconnectGui": disconnectGui,
        "AddObserver": lambda self, *arguments: self.parameterNode.AddObserver(*arguments),
        "RemoveObserver": lambda self, tag: self.parameterNode.RemoveObserver(tag),
        "allParameters": parameters,
        **parameters,
    }
    return type(cls.__name__, (), {"__doc__": cls.__doc__, "__module__": cls.__module__, **members})


class _Link:
    """One widget and one parameter."""

    def __init__(self, wrapper, parameter: _Parameter, widget) -> None:
        self.wrapper, self.parameter, self.widget = wrapper, parameter, widget
        self.attribute, self.signal = widget.parameter_link  # an AttributeError: no connector for this widget
        self.showing = False
        limits = next((check for check in parameter.checks if isinstance(check, WithinRange)), None)
        if limits is not None:
            widget.minimum, widget.maximum = limits.minimum, limits.maximum
        if parameter.is_node:
            widget.nodeTypes = parameter.node_types
        self.show()
        widget.connect(self.signal, self.take)

    def show(self) -> None:
        self.showing = True
        try:
            value = getattr(self.wrapper, self.parameter.name)
            if self.parameter.is_node:
                self.widget.setCurrentNode(value)
            elif getattr(self.widget, self.attribute) != value:
                setattr(self.widget, self.attribute, value)
        finally:
            self.showing = False

    def take(self, *_arguments) -> None:
        if not self.showing:
            value = self.widget.currentNode() if self.parameter.is_node else getattr(self.widget, self.attribute)
            setattr(self.wrapper, self.parameter.name, value)

    def cut(self) -> None:
        self.widget.disconnect(self.signal, self.take)


def _module(name: str, **members) -> types.ModuleType:
    module = types.ModuleType(name)
    vars(module).update(members)
    sys.modules[name] = module
    return module


def install() -> None:
    """Make ``from slicer.i18n import tr`` and its like work. The stand-ins refuse what they do not know."""
    seen: set[str] = set()

    def tr(text: str) -> str:
        if not isinstance(text, str) or "\n\n" in text.strip():
            raise TypeError(f"a text to translate is one paragraph, not {text!r}")
        seen.add(text)
        return text

    slicer.i18n = _module("slicer.i18n", tr=tr, translate=lambda context, text: tr(text), seen=seen)
    slicer.parameterNodeWrapper = _module(
        "slicer.parameterNodeWrapper",
        parameterNodeWrapper=parameterNodeWrapper,
        WithinRange=WithinRange,
        Choice=Choice,
    )
