"""A scene with everything that the application puts around it: logics, slice views, an off-screen picture of each."""

from __future__ import annotations

import tempfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import vtk_to_numpy

LOGICS = {
    "Colors": "vtkSlicerColorLogic",
    "Volumes": "vtkSlicerVolumesLogic",
    "Segmentations": "vtkSlicerSegmentationsModuleLogic",
    "SubjectHierarchy": "vtkSlicerSubjectHierarchyModuleLogic",
    "Tables": "vtkSlicerTablesLogic",
    "Markups": "vtkSlicerMarkupsLogic",
    "VolumeRendering": "vtkSlicerVolumeRenderingLogic",
}
MANAGERS = (
    "vtkMRMLColorLegendDisplayableManager",
    "vtkMRMLSegmentationsDisplayableManager2D",
    "vtkMRMLCrosshairDisplayableManager",
    "vtkMRMLRulerDisplayableManager",
    "vtkMRMLOrientationMarkerDisplayableManager",
)
VIEWS = (("Red", "Axial"), ("Yellow", "Sagittal"), ("Green", "Coronal"))


class Modules:
    """``slicer.modules``: the logics by the lower-case names of their modules."""

    def __init__(self, logics: dict) -> None:
        for name, logic in logics.items():
            setattr(self, name.lower(), SimpleNamespace(logic=lambda logic=logic: logic))


class Desk:
    """A scene, its application logic, and ``slicer.mrmlScene``, ``slicer.app``, ``slicer.modules`` set to them.

    Args:
        size: edge of the slice views in pixels.
    """

    def __init__(self, size: int = 300) -> None:
        self.scene = slicer.vtkMRMLScene()
        slicer.mrmlScene = self.scene
        self.app = slicer.vtkSlicerApplicationLogic()
        self.app.SetMRMLScene(self.scene)
        self.app.SetSliceLogics(vtk.vtkCollection())
        self.app.SetViewLogics(vtk.vtkCollection())
        self._cache = tempfile.TemporaryDirectory(prefix="desk-")  # bundles are unpacked there
        cache, manager = slicer.vtkCacheManager(), slicer.vtkDataIOManager()
        cache.SetRemoteCacheDirectory(self._cache.name)
        manager.SetCacheManager(cache)
        self.scene.SetCacheManager(cache)
        self.scene.SetDataIOManager(manager)
        self.logics = {}
        for name, class_name in LOGICS.items():
            logic = getattr(slicer, class_name)()
            logic.SetMRMLApplicationLogic(self.app)
            logic.SetMRMLScene(self.scene)
            self.app.SetModuleLogic(name, logic)
            self.logics[name] = logic
        slicer.modules = Modules(self.logics)
        slicer.app = SimpleNamespace(applicationLogic=lambda: self.app, applicationVersion="slicer-core")
        slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(self.scene, True)
        self.size = size
        self.slices = {}
        for name, orientation in VIEWS:
            logic = slicer.vtkMRMLSliceLogic()
            logic.SetMRMLApplicationLogic(self.app)
            logic.SetMRMLScene(self.scene)
            self.app.GetSliceLogics().AddItem(logic)
            logic.AddSliceNode(name).SetOrientation(orientation)
            logic.ResizeSliceNode(size, size)
            self.slices[name] = logic

    def load(self, path: str | Path, name: str = "scan"):
        """A volume from a file, or from the files of a folder (a DICOM series), by Slicer's own reader."""
        path = Path(path)
        files = sorted(str(file) for file in path.iterdir()) if path.is_dir() else [str(path)]
        listed = vtk.vtkStringArray()
        for file in files:
            listed.InsertNextValue(file)
        volumes = self.logics["Volumes"]
        return (
            volumes.AddArchetypeVolume(files[0], name, 0, listed)
            if len(files) > 1
            else volumes.AddArchetypeVolume(files[0], name, 0)
        )

    def volume(self, voxels: np.ndarray, matrix: np.ndarray, name: str = "scan"):
        """A volume of ``(K, J, I)`` voxels and an IJK to RAS matrix."""
        node = self.scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
        node.CreateDefaultDisplayNodes()
        slicer.util.updateVolumeFromArray(node, np.ascontiguousarray(voxels))
        node.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(matrix))
        return node

    def transform(self, matrix: np.ndarray, name: str = "transform"):
        """A linear transform node."""
        node = self.scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", name)
        node.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(matrix))
        return node

    def fit(self) -> None:
        """Show the whole background in all views."""
        for logic in self.slices.values():
            logic.FitSliceToBackground()

    def blend(self, view: str) -> np.ndarray:
        """The picture that a slice view blends from background and overlay, ``(y, x, 4)`` uint8, y upwards."""
        connection = self.slices[view].GetImageDataConnection()
        producer = connection.GetProducer()
        producer.Update()
        image = producer.GetOutputDataObject(connection.GetIndex())
        width, height, _depth = image.GetDimensions()
        return vtk_to_numpy(image.GetPointData().GetScalars()).reshape(height, width, -1).copy()

    def world_of_pixel(self, view: str, x: float, y: float) -> np.ndarray:
        """RAS mm of a pixel of a slice view, through Slicer's own XYToRAS."""
        matrix = self.slices[view].GetSliceNode().GetXYToRAS()
        return np.array(matrix.MultiplyPoint((float(x), float(y), 0.0, 1.0))[:3])

    def close(self) -> None:
        """Let go of the scene."""
        for logic in self.slices.values():
            logic.SetMRMLScene(None)
        self.app.GetSliceLogics().RemoveAllItems()
        for logic in self.logics.values():
            logic.SetMRMLScene(None)
        self.scene.Clear(True)
        self.app.SetMRMLScene(None)
        self._cache.cleanup()


class Camera:
    """Off-screen pictures of the slice views of a desk, with legend and segments: what the reader sees."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self._kept = []
        factory = slicer.vtkMRMLSliceViewDisplayableManagerFactory.GetInstance()
        factory.SetMRMLApplicationLogic(desk.app)
        for manager in MANAGERS:
            if not factory.IsDisplayableManagerRegistered(manager):
                factory.RegisterDisplayableManager(manager)
        self.windows = {}
        for name, logic in desk.slices.items():
            window, renderer = vtk.vtkRenderWindow(), vtk.vtkRenderer()
            window.SetOffScreenRendering(1)
            window.SetMultiSamples(0)
            window.SetSize(desk.size, desk.size)
            renderer.GetActiveCamera().ParallelProjectionOn()
            window.AddRenderer(renderer)
            interactor = vtk.vtkRenderWindowInteractor()
            interactor.SetRenderWindow(window)
            interactor.Initialize()
            group = slicer.vtkMRMLDisplayableManagerGroup()
            group.SetRenderer(renderer)
            group.Initialize(factory, renderer)
            group.SetMRMLDisplayableNode(logic.GetSliceNode())
            mapper, actor = vtk.vtkImageMapper(), vtk.vtkActor2D()
            mapper.SetColorWindow(255)
            mapper.SetColorLevel(127.5)
            mapper.SetInputConnection(logic.GetImageDataConnection())
            actor.SetMapper(mapper)
            actor.GetProperty().SetDisplayLocationToBackground()
            renderer.AddViewProp(actor)
            self.windows[name] = window
            self._kept.append((renderer, interactor, group, mapper, actor, logic))

    def shoot(self, view: str) -> np.ndarray:
        """The picture of a view, ``(y, x, 3)`` uint8, first row at the top."""
        for _renderer, _interactor, _group, mapper, _actor, logic in self._kept:
            mapper.SetInputConnection(logic.GetImageDataConnection())  # another one after a background came or went
        window = self.windows[view]
        window.Render()
        grab = vtk.vtkWindowToImageFilter()
        grab.SetInput(window)
        grab.ReadFrontBufferOff()
        grab.Update()
        image = grab.GetOutput()
        width, height, _depth = image.GetDimensions()
        return vtk_to_numpy(image.GetPointData().GetScalars()).reshape(height, width, -1)[::-1].copy()

    def close(self) -> None:
        """End the off-screen windows."""
        for window in self.windows.values():
            window.Finalize()
        self._kept.clear()


def quiet() -> None:
    """VTK's error texts go to stderr, not into windows that nobody closes."""
    window = vtk.vtkOutputWindow()
    window.SetDisplayModeToAlwaysStdErr()
    vtk.vtkOutputWindow.SetInstance(window)


quiet()
