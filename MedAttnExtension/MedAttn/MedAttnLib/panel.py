"""The panel: what the widgets say goes to the logic, what the logic finds goes to the widgets.

Widgets come as a namespace by their names in ``Resources/UI/MedAttn.ui``. Properties and signals are used in the manner
of PythonQt (``button.enabled = True``, ``button.connect("clicked(bool)", ...)``), which is the same for Qt 5 and 6.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import qt
import vtk

from MedAttnLib import nodes, panel_choices, panel_tables, wording
from MedAttnLib.class_choice import ClassChoice
from MedAttnLib.finding import Finding, named
from MedAttnLib.logic import MedAttnLogic
from MedAttnLib.question import REST_MS, Question
from MedAttnLib.region_choice import RegionChoice
from MedAttnLib.texts import _

FAST_MS, SLOW_MS = 15, 250
"""How often the logic is polled while something is under way, and otherwise."""
WARNING_STYLE = (
    "background-color: #fff3cd; color: #5c4400; border: 1px solid #e0c97a; border-radius: 3px; padding: 6px;"
)


class Panel:
    """Connects the widgets to the logic.

    Args:
        ui: namespace of widgets.
        logic: what does the work.
        ready: called before anything is predicted; False if the user does not want what it needs to be installed.
    """

    def __init__(self, ui: Any, logic: MedAttnLogic, ready: Callable[[], bool] = lambda: True) -> None:
        self.ui, self.logic, self.ready = ui, logic, ready
        self.parameters: Any = None
        self.found: Finding | None = None
        self._gui_tag: int | None = None
        self._observed: list[tuple[Any, int]] = []
        self._scan: Any = None
        self._scan_observed: list[tuple[Any, int]] = []
        self._look: tuple[Any, ...] | None = None
        self._arriving = False  # what is seen is taken over from the scene, not forced upon it
        self._pressed = 0.0
        self._live = False  # whether the finding that is shown could be asked further questions
        self._about: str | None = None  # id of the scan that the status line and the question are about
        panel_tables.prepare_probabilities(ui.probabilityTable)
        panel_tables.prepare_regions(ui.regionsTable)
        panel_choices.fill_modes(ui.modeSelector)
        ui.noticeLabel.setStyleSheet(WARNING_STYLE)
        ui.findingLabel.setStyleSheet("font-size: 15px;")
        self._timer, self._later = qt.QTimer(), qt.QTimer()
        self._timer.setInterval(SLOW_MS)
        self._later.setSingleShot(True)
        self._later.setInterval(REST_MS)
        self.question, self.region, self.classes = Question(self), RegionChoice(self), ClassChoice(self)
        self._connect()
        logic.on_message = self._told

    def _connect(self) -> None:
        ui = self.ui
        self._timer.connect("timeout()", self.poll)
        self._later.connect("timeout()", self.look_again)
        ui.applyButton.connect("clicked(bool)", self.on_apply)
        ui.bundleSelector.connect("currentIndexChanged(int)", self.on_bundle)
        ui.bundleFolder.connect("currentPathChanged(QString)", self.on_bundle)
        ui.exportButton.connect("clicked(bool)", self.on_export)
        ui.batchButton.connect("clicked(bool)", self.on_batch)

    # --- life

    def set_parameters(self, parameters: Any) -> None:
        """Follow another parameter node, or none."""
        if self.parameters is not None:
            self.parameters.disconnectGui(self._gui_tag)
            self._unobserve(self._observed)
        self.parameters, self._gui_tag = parameters, None
        if parameters is not None:
            panel_choices.fill_bundles(self.ui, self.logic.engine, parameters)
            self._gui_tag = parameters.connectGui(self.ui)
            tag = parameters.AddObserver(vtk.vtkCommand.ModifiedEvent, self.update)
            self._observed.append((parameters, tag))
            self._timer.start()
        else:
            self._timer.stop()
            self._later.stop()
            self.question.close()
        self._arriving = True
        try:
            self._find(None)
            self.show()
            self.look_again()
        finally:
            self._arriving = False
        if parameters is not None:
            self.question.follow()

    def choose_scan(self) -> None:
        """Choose the first scan of the scene where none is chosen: it saves a click."""
        if self.parameters is not None and self.parameters.input_volume is None:
            scans = nodes.scans(self.logic.scene)
            if scans:
                self._arriving = True  # nobody has chosen it: the views stay on what they show
                try:
                    self.parameters.input_volume = scans[0]
                finally:
                    self._arriving = False

    def scene_changed(self) -> None:
        """Nodes came or went: look again, once they are all there."""
        if self.parameters is not None:
            self._later.start()

    @staticmethod
    def _unobserve(observed: list[tuple[Any, int]]) -> None:
        for node, tag in observed:
            node.RemoveObserver(tag)
        observed.clear()

    def forget(self) -> None:
        """Another scene: what was said is about none of its scans."""
        self._about = None
        self._turn_to("")

    def close(self) -> None:
        """Leave nothing behind: no timer, no observer, no process."""
        self.set_parameters(None)
        self.logic.stop()

    def poll(self) -> None:
        """Let the logic go on."""
        try:
            self.logic.poll()
        finally:
            pace = FAST_MS if self.logic.working or self.logic.engine.state in ("starting", "busy") else SLOW_MS
            if self._timer.interval != pace:
                self._timer.setInterval(pace)
        if self.logic.engine.hello is not None and panel_choices.bundles_are_new(self.ui, self.logic.engine):
            panel_choices.fill_bundles(self.ui, self.logic.engine, self.parameters)

    def hurry(self) -> None:
        """Look for an answer more often."""
        self._timer.setInterval(FAST_MS)

    # --- from the scene to the widgets

    @property
    def volume(self) -> Any:
        """The chosen scan."""
        return self.parameters.input_volume if self.parameters is not None else None

    def look_again(self) -> None:
        """Bring every widget to what is in the scene by now."""
        panel_choices.fill_scopes(self.ui.batchScope, self.logic.scene)
        self.logic.hide_orphans()
        nodes.remove_lost_displays(self.logic.scene)  # of a map that was deleted: its legend would stay in the views
        self.update()

    def update(self, _caller: Any = None, _event: Any = None) -> None:
        """Bring every widget to what is chosen and known."""
        ui, parameters = self.ui, self.parameters
        self.region.update()
        if parameters is not None:
            panel_choices.fill_bundles(ui, self.logic.engine, parameters)
            self.logic.opacity, self.logic.threshold = parameters.opacity, parameters.threshold
        self._watch(self.volume)
        found = self.logic.finding_of(self.volume) if self.volume is not None else None
        if found is not self.found or (found is not None and found.live != self._live):
            self._find(found)
            self.show()
        elif found is not None:
            self._show_notice()  # another model may be chosen by now
            self._show_overlay()
        self.check()

    def _watch(self, scan: Any) -> None:
        """Observe the chosen scan, so that a change of voxels or place is told at once and the map goes along."""
        if self.parameters is not None:
            self._turn_to("" if scan is None else scan.GetID())
        if scan is not self._scan:
            self._unobserve(self._scan_observed)
            self._scan = scan
            for event in panel_choices.scan_events() if scan is not None else ():
                self._scan_observed.append((scan, scan.AddObserver(event, self._on_scan)))
            self._on_scan()

    def _turn_to(self, scan: str) -> None:
        """From here on the panel is about another scan: its id, empty for none."""
        if scan == self._about:
            return
        self._about = scan
        self.question.begin()
        if not self.logic.busy:
            self.say("")
        if scan and not self._arriving:
            self.logic.show_scan(self.volume)

    def _on_scan(self, *_arguments: Any) -> None:
        if self._scan is not None:
            self.logic.follow(self._scan)
        if self.found is not None and self.volume is not None:
            self._show_notice()
            panel_tables.show_places(self.ui.regionsTable, self._places())

    def check(self) -> None:
        """Enable what can be done, and say why the rest cannot."""
        ui, busy = self.ui, self.logic.busy
        obstacle = panel_choices.obstacle(self.parameters)
        ui.applyButton.text = _("Cancel") if busy else _("Apply")
        ui.applyButton.enabled = busy or not obstacle
        ui.applyButton.toolTip = _("End what is under way") if busy else obstacle or _("Classify the scan")
        for widget in (ui.inputSelector, ui.bundleSelector, ui.regionSelector):
            widget.enabled = not busy
        ui.regionSegment.enabled = not busy and ui.regionSegment.count > 0
        ui.bundleFolder.enabled = not busy and self.parameters is not None and not self.parameters.bundle
        live = self.found is not None and self.found.live and not busy
        classes = live and self.found is not None and not self.found.regression
        for widget in (ui.classSelector, ui.againstSelector):
            widget.enabled = classes
        ui.exportButton.enabled = live
        self.question.enable(live)
        ui.segmentButton.enabled = live and bool(self.found and self.found.regions)
        for widget in (ui.opacitySlider, ui.thresholdSlider, ui.showCheckBox, ui.renderCheckBox):
            widget.enabled = self.found is not None
        nothing = panel_choices.batch_obstacle(self.parameters, ui.batchScope)
        ui.batchButton.enabled = not busy and not nothing
        ui.batchButton.toolTip = nothing or _("Classify them one after another, into one table")

    def _find(self, found: Finding | None) -> None:
        self.found, self._look = found, None
        self._live = found is not None and found.live
        self.question.drop()

    def _places(self) -> list[Any]:
        return [self.logic.place_of(self.volume, one) for one in (self.found.regions if self.found else ())]

    def show(self) -> None:
        """The finding in all widgets that speak of it."""
        ui, found = self.ui, self.found
        panel_choices.fill_classes(ui, found)
        panel_tables.show_regions(ui.regionsTable, found, self._places())
        self._show_numbers()
        self._show_overlay()

    def _show_notice(self) -> None:
        ui, found = self.ui, self.found
        text = ""
        if found is not None:
            other, changed = not found.is_of(panel_choices.bundle_of(self.parameters)), self.logic.changed(self.volume)
            text = wording.notices(found.shown_of(self.volume), changed, found.live, found.saved, other_model=other)
        if ui.noticeLabel.text != text:
            ui.noticeLabel.text = text
        ui.noticeLabel.visible = bool(text)

    def _show_numbers(self) -> None:
        ui, found = self.ui, self.found
        self._show_notice()
        text = _("No result yet") if found is None else wording.finding(found.result)
        ui.findingLabel.text = text.replace(" %", "\N{NO-BREAK SPACE}%")  # no line begins with the sign
        ui.noteLabel.text = wording.note({} if found is None else found.result)
        self.question.show()

    def _show_overlay(self) -> None:
        if self.found is None or self.parameters is None:
            self.ui.scaleLabel.text = ""
            return
        scale, share = self.found.scale, self.parameters.threshold
        text = _("from {low}, full at {high} {unit}")
        self.ui.scaleLabel.text = text.format(
            low=wording.number(share * scale.limit, 2), high=wording.number(scale.limit, 2), unit=scale.unit
        )
        look = (self.found, self.parameters.opacity, share, self.parameters.shown, self.parameters.rendered)
        if look != self._look:
            self._look = look
            if self._arriving:
                panel_choices.take_views(self.parameters, self.logic, self.volume)
                return
            self.logic.recolour(self.volume)
            self.logic.set_rendered(self.volume, self.parameters.rendered)
            if self.parameters.shown != self.logic.is_shown(self.volume):
                self.logic.set_shown(self.volume, self.parameters.shown)

    def _told(self, text: str) -> None:
        """The engine ended, or could not start: nothing can be asked until the next Apply."""
        self.update()
        self.say(text, warning=True)

    def say(self, text: str, warning: bool = False) -> None:
        """A line under the progress bar."""
        self.ui.statusLabel.text = text
        self.ui.statusLabel.setStyleSheet(WARNING_STYLE if warning and text else "")

    # --- from the widgets to the logic

    def on_bundle(self, *_arguments: Any) -> None:
        """Another model, or another folder of one."""
        if self.parameters is not None:
            panel_choices.take_bundle(self.ui, self.parameters)

    def on_apply(self, *_arguments: Any) -> None:
        """Apply, or Cancel while something is under way."""
        if self.logic.busy:
            self.logic.cancel()
            return
        if panel_choices.obstacle(self.parameters) or not self.ready():
            return
        parameters, self._pressed = self.parameters, time.perf_counter()
        self.logic.apply(
            self.volume,
            panel_choices.bundle_of(parameters),
            region=parameters.region,
            segment=parameters.region_segment,
            show=parameters.shown,
            done=self._applied,
            failed=self.failed,
            progress=self._progress,
        )
        self._begun()

    def _begun(self) -> None:
        self.say("")
        self.hurry()
        self.check()

    def _progress(self, fraction: float, text: str) -> None:
        self.ui.progressBar.value = round(1000 * fraction)
        self.say(text)

    def _applied(self, _found: Finding) -> None:
        seconds = time.perf_counter() - self._pressed  # what the reader has waited, not what the network took
        self._over(_("Done in {seconds:.1f} s").format(seconds=seconds), anew=True)
        self.question.ask()  # the painted segment that is still chosen

    def _over(self, text: str, anew: bool = False, warning: bool = False) -> None:
        if anew:
            self.found = None  # whatever was shown is shown anew
        self.ui.progressBar.value = 0
        self.update()
        self.say(text, warning)

    def failed(self, code: str, message: str, anew: bool = False) -> None:
        """What was asked for could not be done."""
        if code == "cancelled":
            self._over(_("Cancelled"), anew)
        else:
            region = panel_choices.region_name(self.parameters)
            self._over(named(message, self.volume, region), anew, warning=True)

    def show_anew(self) -> None:
        """The same finding, about another class by now."""
        self._find(self.found)
        self.show()
        self.check()
        self.question.ask()  # the painted segment that is still chosen

    def on_export(self, *_arguments: Any) -> None:
        """Write the files."""
        self.logic.export(
            self.volume,
            self.ui.exportFolder.currentPath,
            self.parameters.export_name,
            nrrd=self.parameters.export_nrrd,
            report=self.parameters.export_report,
            done=lambda files: self._over(wording.written(files, self.ui.exportFolder.currentPath)),
            failed=self.failed,
        )
        self._begun()

    def on_batch(self, *_arguments: Any) -> None:
        """Classify all scans of the scene or of a folder."""
        if self.logic.busy or panel_choices.batch_obstacle(self.parameters, self.ui.batchScope) or not self.ready():
            return
        volumes = panel_choices.volumes_of_scope(self.ui.batchScope, self.logic.scene)
        self.logic.run_batch(
            volumes,
            panel_choices.bundle_of(self.parameters),
            done=lambda table: self._over(_("Done: {table}").format(table=table.GetName())),
            failed=self.failed,
            progress=self._progress,
        )
        self._begun()
