"""The frame that the application puts around a scripted module, for the module file itself."""

from __future__ import annotations

import sys
import types
from pathlib import Path

import slicer

from stand_ins import widgets


class Parent:
    """What a scripted module may set on its frame; anything else raises."""

    __slots__ = (
        "acknowledgementText",
        "categories",
        "contributors",
        "dependencies",
        "helpText",
        "icon",
        "path",
        "title",
    )

    def __init__(self, path: Path) -> None:
        self.path = str(path)


class Application:
    """Signals of the application; real application logic."""

    applicationVersion = "slicer-core"

    def __init__(self, desk) -> None:
        self.desk = desk
        self.slots: dict[str, list] = {"startupCompleted()": [], "aboutToQuit()": []}

    def connect(self, signal: str, slot) -> None:
        self.slots[signal].append(slot)

    def disconnect(self, signal: str, slot) -> None:
        self.slots[signal].remove(slot)

    def emit(self, signal: str) -> None:
        for slot in list(self.slots[signal]):
            slot()

    def applicationLogic(self):
        return self.desk.app

    def processEvents(self, *_arguments) -> None:
        widgets.application().processEvents()


class _Layout:
    def __init__(self) -> None:
        self.widgets = []

    def addWidget(self, widget) -> None:
        self.widgets.append(widget)


class ScriptedLoadableModule:
    def __init__(self, parent) -> None:
        self.parent = parent


class ScriptedLoadableModuleWidget:
    def __init__(self, parent=None) -> None:
        self.parent = parent or types.SimpleNamespace(isEntered=False)
        self.layout = _Layout()

    def setup(self) -> None:
        pass

    def resourcePath(self, name: str) -> str:
        return str(Path(sys.modules["MedAttn"].__file__).parent / "Resources" / name)

    def onReload(self) -> None:
        del sys.modules["MedAttn"]


class ScriptedLoadableModuleLogic:
    def __init__(self, parent=None) -> None:
        self.moduleName = type(self).__name__.removesuffix("Logic")

    def getParameterNode(self):
        node = slicer.mrmlScene.GetSingletonNode(self.moduleName, "vtkMRMLScriptedModuleNode")
        if node is None:
            node = slicer.mrmlScene.CreateNodeByClass("vtkMRMLScriptedModuleNode")
            node.UnRegister(None)
            node.SetSingletonTag(self.moduleName)
            node.SetName(self.moduleName)
            node = slicer.mrmlScene.AddNode(node)
        return node


class ScriptedLoadableModuleTest:
    def delayDisplay(self, message: str) -> None:
        pass


class SampleDataLogic:
    """Keeps what is registered."""

    registered: list = []  # noqa: RUF012 - as the real one, shared by all
    categories: list = []  # noqa: RUF012

    @classmethod
    def registerCustomSampleDataCategory(cls, category: str, title: str) -> None:
        cls.categories.append(category)

    @classmethod
    def registerCustomSampleDataSource(
        cls,
        *,
        category: str,
        sampleName: str,
        thumbnailFileName: str,
        uris: str,
        fileNames: str,
        checksums: str,
        nodeNames: str,
    ) -> None:
        cls.registered.append({k: v for k, v in locals().items() if k != "cls"})


def install(desk) -> Application:
    """Make ``import MedAttn`` work."""
    base = types.ModuleType("slicer.ScriptedLoadableModule")
    for cls in (
        ScriptedLoadableModule,
        ScriptedLoadableModuleWidget,
        ScriptedLoadableModuleLogic,
        ScriptedLoadableModuleTest,
    ):
        setattr(base, cls.__name__, cls)
    sys.modules["slicer.ScriptedLoadableModule"] = slicer.ScriptedLoadableModule = base
    samples = types.ModuleType("SampleData")
    samples.SampleDataLogic = SampleDataLogic
    sys.modules["SampleData"] = samples
    slicer.app = Application(desk)
    return slicer.app
