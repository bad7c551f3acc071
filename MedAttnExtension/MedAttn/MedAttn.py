"""MedAttn in 3D Slicer: classify the loaded volume and see the evidence. The module itself is a thin shell."""

from __future__ import annotations

import os
import sys
import unittest

import qt
import slicer
import vtk
from MedAttnLib import logic as core
from MedAttnLib.parameters import MedAttnParameters
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin


class MedAttn(ScriptedLoadableModule):
    """What the application shows of the module."""

    def __init__(self, parent) -> None:
        ScriptedLoadableModule.__init__(self, parent)
        parent.title = _("MedAttn")
        parent.categories = [translate("qSlicerAbstractCoreModule", "Quantification")]
        parent.dependencies = []
        parent.contributors = ["The MedAttn developers"]
        parent.helpText = _(
            "Classifies a volume and shows the evidence: every voxel's contribution is part of a sum, and that sum is "
            "the decision. Choose a scan and a model and press Apply. Orange and red speak for the class, blue against "
            "it, or for the class that it is compared with. Untick a region, or paint one, and read what the model "
            "would say without it. Research use only: not a medical device."
        )
        parent.acknowledgementText = _(
            "Sample volumes: PyRadiomics 3.0.1 (van Griethuysen et al., Cancer Research 77(21):e104, 2017). The model "
            "brain_tumor_t1ce was trained on the brain tumor dataset of Jun Cheng (figshare 2017, "
            "doi:10.6084/m9.figshare.1512427); please cite Cheng et al., PLoS ONE 10(10):e0140381, 2015."
        )
        slicer.app.connect("startupCompleted()", register_sample_data)


def installation_plan():
    """What would have to be installed; None where another Python runs the worker, which is its owner's business."""
    from MedAttnLib import installation, launch

    return None if os.environ.get(launch.PYTHON_VARIABLE) else installation.known_plan()


def register_sample_data() -> None:
    """Called when the application has started, so that its start is not slowed down."""
    from MedAttnLib import sample_data

    sample_data.register()


class MedAttnWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The panel of the module."""

    def __init__(self, parent=None) -> None:
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)  # for the observers of the scene
        self.logic = None
        self.panel = None
        self._paused = False  # the panel is shown, and a scene is being read

    def setup(self) -> None:
        """Called when the user opens the module for the first time."""
        from MedAttnLib.panel import Panel

        ScriptedLoadableModuleWidget.setup(self)
        widget = slicer.util.loadUI(self.resourcePath("UI/MedAttn.ui"))
        self.layout.addWidget(widget)
        self.ui = slicer.util.childWidgetVariables(widget)
        widget.setMRMLScene(slicer.mrmlScene)
        for selector in (self.ui.inputSelector, self.ui.regionSelector, self.ui.whatIfSegmentation):
            selector.setMRMLScene(slicer.mrmlScene)
        self.logic = MedAttnLogic()
        slicer.app.connect("aboutToQuit()", self.logic.work.stop)
        self.panel = Panel(self.ui, self.logic.work, ready=self.ready)
        self.ui.setupButton.connect("clicked(bool)", self.on_install)
        scene = slicer.mrmlScene
        self.addObserver(scene, scene.StartCloseEvent, self.on_scene_start_close)
        self.addObserver(scene, scene.EndCloseEvent, self.on_scene_end_close)
        self.addObserver(scene, scene.StartImportEvent, self.on_scene_start_import)
        self.addObserver(scene, scene.EndImportEvent, self.on_scene_end_import)
        self.addObserver(scene, scene.NodeAddedEvent, self.on_scene_changed)
        self.addObserver(scene, scene.NodeRemovedEvent, self.on_scene_changed)
        # The application enters the module by itself after the first setup(), but not after a reload, nor where the
        # panel has no module around it.
        if getattr(self.parent, "isEntered", True):
            self.enter()

    def cleanup(self) -> None:
        """Called when the module is unloaded or reloaded: no process, no observer and no timer stays behind.

        Also where setup() has failed, wherever it did.
        """
        self.removeObservers()
        if self.logic is not None:
            slicer.app.disconnect("aboutToQuit()", self.logic.work.stop)
            self.logic.work.stop()
        if self.panel is not None:
            self.panel.close()

    def enter(self) -> None:
        """Called each time the user opens the module."""
        if self.panel is None:  # setup() has failed, and has said so
            return
        self.follow_parameters()
        self.panel.choose_scan()
        if not self.show_installation():
            self.logic.work.start()  # torch loads while the user still chooses

    def exit(self) -> None:
        """Called each time the user opens another module; what is under way goes on and is shown at the return."""
        if self.panel is not None and not self.logic.work.busy:
            self.panel.set_parameters(None)

    def on_scene_start_close(self, _caller, _event) -> None:
        """The scene is about to be closed: nothing may go on with its nodes."""
        self.logic.work.forget()
        self.panel.set_parameters(None)
        self.panel.forget()
        self.logic.release_parameters()

    def on_scene_end_close(self, _caller, _event) -> None:
        """The scene is closed: begin anew if the module is shown."""
        if self.parent.isEntered:
            self.follow_parameters()

    def on_scene_start_import(self, _caller, _event) -> None:
        """A scene is about to be read: what it holds comes in parts, and no widget may answer to a part of it."""
        self._paused = self._paused or self.panel.parameters is not None
        self.panel.set_parameters(None)
        self.panel.forget()
        self.logic.release_parameters()

    def on_scene_end_import(self, _caller, _event) -> None:
        """The scene is read, or could not be: its choices and its results are shown."""
        if self._paused:
            self._paused = False
            self.follow_parameters()
            self.panel.scene_changed()

    def follow_parameters(self) -> None:
        """Show what the parameter node of the scene says by now."""
        self.panel.set_parameters(None)
        self.logic.release_parameters()
        self.panel.set_parameters(self.logic.parameters())

    def on_scene_changed(self, _caller, _event) -> None:
        """Nodes came or went."""
        parameters = self.panel.parameters
        if parameters is not None and parameters.parameterNode.GetScene() is None:
            # Removed by hand or by a script: a node without a scene finds no other node, not even the chosen scan.
            self.follow_parameters()
            self.panel.choose_scan()
        self.panel.scene_changed()

    def onReload(self) -> None:  # noqa: N802 - named by the application
        """Reload the library too, not this file alone (developer mode)."""
        if self.panel is not None:
            self.panel.close()
        for name in [name for name in sys.modules if name.split(".")[0] == "MedAttnLib"]:
            del sys.modules[name]
        ScriptedLoadableModuleWidget.onReload(self)

    # --- installation

    def show_installation(self) -> bool:
        """Say what is missing, and open the section if something is.

        Returns:
            Whether something is.
        """
        plan = installation_plan()
        needed = plan is not None and plan.needed
        self.ui.setupLabel.text = plan.text() if needed else _("Everything is installed.")
        self.ui.setupButton.enabled = needed
        if needed:
            self.ui.setupSection.collapsed = False
        return needed

    def ready(self) -> bool:
        """Install what is missing, after asking; False where that was declined or failed."""
        from MedAttnLib import installation

        plan = installation_plan()
        if plan is None or not plan.needed:
            return True
        try:
            installed = installation.install(plan, installation.slicer_doors())
        except installation.InstallationError as error:
            self.panel.say(str(error))
            return False
        if installed:
            self.logic.work.stop()  # a worker of before would not see it
        self.show_installation()
        return installed

    def on_install(self, *_arguments) -> None:
        """The button of the section Installation."""
        self.ready()


class MedAttnLogic(ScriptedLoadableModuleLogic):
    """Parameter node and work; for scripts too: ``slicer.util.getModuleLogic("MedAttn").work``."""

    def __init__(self) -> None:
        ScriptedLoadableModuleLogic.__init__(self)
        self.work = core.MedAttnLogic()
        self._parameters: MedAttnParameters | None = None

    def parameters(self) -> MedAttnParameters:
        """The typed parameters of the scene: one object at a time, since each observes the node while it lives."""
        node = self.getParameterNode()
        if self._parameters is None or self._parameters.parameterNode is not node:
            self._parameters = MedAttnParameters(node)
        return self._parameters

    def release_parameters(self) -> None:
        """Read the node anew at the next call.

        The object keeps what it has read until the node is modified, and no node is where a reference that could not
        be resolved while a scene was read can be later.
        """
        self._parameters = None

    def wait(self, timeout_s: float = 600.0) -> None:
        """For scripts: go on until nothing is under way, with the window alive.

        Raises:
            TimeoutError: it took longer.
        """
        clock = vtk.vtkTimerLog()
        start = clock.GetUniversalTime()
        while self.work.working:
            if clock.GetUniversalTime() - start > timeout_s:
                raise TimeoutError(_("not finished in time; give more of it, or cancel"))
            self.work.poll()
            slicer.app.processEvents(qt.QEventLoop.AllEvents, 10)


class MedAttnTest(ScriptedLoadableModuleTest, unittest.TestCase):
    """Run by the button "Reload and Test" in developer mode, and by ctest.

    A machine on which something is missing, such as one that builds extensions, says so and tests nothing.
    """

    def setUp(self) -> None:
        """An empty scene."""
        slicer.mrmlScene.Clear()

    def runTest(self) -> None:  # noqa: N802 - named by the application
        """All tests."""
        plan = installation_plan()
        if plan is not None and plan.needed:  # not SkipTest: "Reload and Test" would show it as a failure
            missing = [plan.torch, *plan.packages, plan.wheel and plan.wheel.name, *plan.problems]
            print("MedAttnTest: SKIPPED, not installed: " + "; ".join(one for one in missing if one))
            return
        self.setUp()
        self.test_sample()

    def test_sample(self) -> None:
        """The sample is a glioma, and the evidence lies in the scene."""
        import SampleData
        from MedAttnLib import nodes

        volume = SampleData.downloadSample("MedAttnBrain1")
        logic, results = MedAttnLogic(), []
        try:
            logic.work.apply(volume, "brain_tumor_t1ce", done=results.append, failed=lambda *e: results.append(e))
            logic.wait()
            assert results[0].result["label"] == "glioma"
            assert nodes.find(slicer.mrmlScene, nodes.EVIDENCE, volume) is not None
        finally:
            logic.work.stop()
        self.delayDisplay("Test passed")
