"""What the module does, without a widget: scans to the engine, results into the scene.

Everything that touches MRML runs on the main thread in short steps (:mod:`MedAttnLib.steps`); the network runs in the
engine, another process. Whoever uses the logic calls :meth:`MedAttnLogic.poll` every 10 to 20 ms.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import slicer
from slicer.util import arrayFromVolume

from MedAttnLib import batch, exchange, finding, geometry, nodes, results, roi, segments
from MedAttnLib.finding import Finding
from MedAttnLib.shown import Shown
from MedAttnLib.steps import Runner, Steps, Task, TaskError, apart, ask, on_disk
from MedAttnLib.texts import _

Done = Callable[[Any], None]
Failed = Callable[[str, str], None]
Progress = Callable[[float, str], None]


def _nothing(*_arguments: Any) -> None:
    return None


class MedAttnLogic(Shown):
    """Predicts volumes of a scene and keeps what they gave.

    Args:
        engine: a :class:`MedAttnLib.process.Worker`, or anything with its interface; made on first use otherwise.
        scene: MRML scene; the application's by default.

    Attributes:
        findings: by id of the input volume.
        bundle: what the engine said of the last one that was loaded.
        on_message: gets a line of text when the engine died and was started again.
    """

    def __init__(self, engine: Any = None, scene: Any = None) -> None:
        self._engine = engine
        self._scene = scene
        self._runner = Runner()
        self._progress: Progress = _nothing
        self.findings: dict[str, Finding] = {}
        self.bundle: dict[str, Any] | None = None
        self.on_message: Callable[[str], None] = _nothing

    # --- the engine

    @property
    def scene(self) -> Any:
        """The scene."""
        return self._scene or slicer.mrmlScene

    @property
    def engine(self) -> Any:
        """The engine, made on first use."""
        if self._engine is None:
            from MedAttnLib.process import Worker

            self._engine = Worker()
        self._engine.on_message = self._message
        return self._engine

    @property
    def busy(self) -> bool:
        """Whether something is under way that can be cancelled; questions are answered before that."""
        return self._runner.busy

    @property
    def working(self) -> bool:
        """Whether anything is under way."""
        return self._runner.working

    def _message(self, text: str) -> None:
        for found in self.findings.values():  # the engine ended: it knows none of them any more
            found.live = False
        self.on_message(text)

    def start(self) -> None:
        """Start the engine ahead of the first Apply, so that torch is loaded by then; returns at once."""
        if self.engine.state == "stopped":
            self.engine.start(done=_nothing, failed=lambda code, message: self.on_message(message))

    def poll(self) -> None:
        """Go on with what is under way, for a few milliseconds."""
        if self._engine is not None:
            self._engine.poll()
        self._runner.poll()

    def cancel(self) -> None:
        """End what is under way; idle at once, and the engine within a second."""
        if self._engine is not None and self._engine.busy:
            self._engine.cancel()
        self._runner.cancel("cancelled", _("cancelled"))

    def stop(self) -> None:
        """End everything: no process and no file is left."""
        self._runner.cancel("cancelled", _("cancelled"))
        if self._engine is not None:
            self._engine.stop()

    def forget(self) -> None:
        """Drop all findings: the scene they were in is closed."""
        self.cancel()
        self.findings.clear()

    def _add(self, steps: Steps, done: Done, failed: Failed, quick: bool = False) -> None:
        self._runner.add(Task(apart(steps), done, failed, quick))

    # --- predicting

    def apply(
        self,
        volume: Any,
        bundle: str,
        *,
        region: Any = None,
        segment: str = "",
        show: bool = True,
        done: Done = _nothing,
        failed: Failed = _nothing,
        progress: Progress = _nothing,
    ) -> None:
        """Predict a volume and put the result into the scene; returns at once.

        Args:
            volume: vtkMRMLScalarVolumeNode.
            bundle: name of a shipped bundle, or folder of any.
            region: segmentation node or markups ROI: the model looks nowhere else.
            segment: id of the segment of ``region``.
            show: lay the map over the scan in all slice views and go to its strongest region.
            done: called with the :class:`Finding`.
            failed: called with code and message.
            progress: called with a fraction and a line of text.
        """
        self._add(self._apply(volume, bundle, region, segment, show, progress), done, failed)

    def _apply(
        self, volume: Any, bundle: str, region: Any, segment: str, show: bool, progress: Progress = _nothing
    ) -> Steps:
        self.check(volume)
        engine, stamp, world = self.engine, finding.stamp_of(volume), geometry.ijk_to_world(volume)
        names = [finding.SCAN_FILE, "evidence.nii", *([finding.REGION_FILE] if region is not None else [])]
        scan, target, *masks = files = [engine.file(name) for name in names]
        try:
            progress(0.0, _("loading the model"))
            answer = yield from ask(engine.load, bundle, progress=lambda f, text: progress(0.1 * f, text))
            self.bundle = answer["bundle"]
            self._check_bundle(volume, self.bundle)
            progress(0.1, _("handing the scan over"))
            yield from self._write(volume, scan, world)
            if masks:
                yield from roi.write_steps(volume, region, segment, world, masks[0])
            result = yield from ask(
                engine.predict,
                scan,
                bundle=bundle,
                mask=masks[0] if masks else None,
                name=finding.ALIAS,
                evidence=target,
                progress=lambda f, text: progress(0.15 + 0.75 * f, text),
            )
            progress(0.92, _("laying the evidence over the scan"))
            told = {key: value for key, value in result.items() if key not in ("regions", "evidence")}
            told["warnings"] = [
                {**one, "message": finding.without_paths(one["message"], *files)} for one in told["warnings"]
            ]
            found = Finding(
                volume.GetID(),
                told,
                result["evidence"],
                result["regions"],
                stamp=stamp,
                world=world,
                asked=bundle,
                region=nodes.region_name(region, segment),
                region_ids=("" if region is None else region.GetID() or "", segment),
            )
            yield from results.while_there(self, volume, results.place_steps(self, volume, found))
            for other in self.findings.values():
                other.live = other is found  # the engine keeps the features of the last scan only
            if show:
                yield from results.while_there(self, volume, results.show_steps(self, volume, found))
            progress(1.0, _("done"))
            return found
        except TaskError as error:
            raise TaskError(error.code, finding.without_paths(error.message, *files)) from error
        finally:
            for path in files:
                exchange.discard(path)

    def check(self, volume: Any) -> None:
        """Refuse what is no scan.

        Raises:
            TaskError: ``bad_argument``, ``scan_removed``.
        """
        if volume is not None and volume.GetScene() is None:
            raise TaskError("scan_removed", _("the volume was removed from the scene"))
        if volume is None or not nodes.has_voxels(volume):
            raise TaskError("bad_argument", _("no volume with voxels is chosen; load a scan and choose it"))
        if nodes.is_ours(volume):
            raise TaskError("bad_argument", _("that volume is an evidence map of MedAttn; choose the scan itself"))
        if volume.GetImageData().GetNumberOfScalarComponents() != 1:
            raise TaskError("bad_argument", _("the volume is in colour; choose one with a single value per voxel"))

    def _check_bundle(self, volume: Any, bundle: dict[str, Any]) -> None:
        channels = bundle.get("channels") or ()
        if len(channels) > 1:
            text = _(
                "{bundle} takes several volumes of one scan ({channels}), and here one is chosen; choose another bundle"
            )
            raise TaskError("bad_argument", text.format(bundle=bundle["name"], channels=", ".join(channels)))
        accepted, modality = bundle.get("modality") or (), nodes.modality_of(self.scene, volume)
        if accepted and modality and modality not in accepted:
            text = _("the volume is {modality}, but {bundle} takes {accepted}; choose another volume or bundle")
            raise TaskError(
                "wrong_modality",
                text.format(modality=modality, bundle=bundle["name"], accepted=", ".join(accepted)),
            )

    def _write(self, volume: Any, path: str, world: np.ndarray) -> Steps:
        yield from on_disk(exchange.write_scan_steps(path, arrayFromVolume(volume), world))

    # --- asking again

    def finding_of(self, volume: Any) -> Finding | None:
        """What is known about a volume: from this session, or saved with the scene."""
        if volume is None:
            return None
        found = self.findings.get(volume.GetID())
        node = nodes.find(self.scene, nodes.EVIDENCE, volume)
        if found is not None and (node is None or node.GetAttribute(nodes.TOKEN) != found.token):
            del self.findings[volume.GetID()]  # the reader has deleted the map, or opened another scene
            found = None
        if found is None:
            found = finding.saved_with(self.scene, volume)
            if found is not None:
                self.findings[volume.GetID()] = found
        return found

    def changed(self, volume: Any) -> bool:
        """Whether voxels or place of the volume are no longer those that were predicted."""
        found = self.finding_of(volume)
        return found is not None and (found.outdated or not finding.same_stamp(found.stamp, finding.stamp_of(volume)))

    def _live(self, volume: Any) -> Finding:
        found = self.finding_of(volume)
        if found is None or not found.live:
            raise TaskError("no_prediction", _("there is no prediction of this session; press Apply first"))
        return found

    def what_if(
        self,
        volume: Any,
        *,
        regions: Sequence[int] = (),
        mode: str = "without",
        segmentation: Any = None,
        segment: str = "",
        done: Done = _nothing,
        failed: Failed = _nothing,
    ) -> None:
        """What the model would say without regions (or with them only); returns at once.

        Args:
            volume: the scan.
            regions: ids of the regions table.
            mode: ``without`` or ``only``.
            segmentation: node with a painted segment that joins the regions.
            segment: its id.
            done: called with the engine's answer.
            failed: called with code and message.
        """
        self._add(self._what_if(volume, list(regions), mode, segmentation, segment), done, failed, quick=True)

    def _what_if(self, volume: Any, regions: list[int], mode: str, segmentation: Any, segment: str) -> Steps:
        found, path = self._live(volume), None
        try:
            if segmentation is not None:
                results.check_voxels(volume, found)
                path = self.engine.file(finding.PAINTED_FILE)
                yield from roi.write_steps(volume, segmentation, segment, found.world, path)
            fields: dict[str, Any] = {mode: regions, "label": found.evidence["label"]}
            if path is not None:
                fields["mask"] = path
            try:
                return (yield from ask(self.engine.what_if, found.prediction, **fields))
            except TaskError as error:
                if error.code == "no_prediction":
                    found.live = False
                    message = _("another scan was predicted since, or the engine was started again; press Apply")
                    raise TaskError("no_prediction", message) from error
                raise
        finally:
            if path is not None:
                exchange.discard(path)

    def explain(
        self, volume: Any, label: str, against: str | None = None, *, done: Done = _nothing, failed: Failed = _nothing
    ) -> None:
        """Show the evidence for another class, or for one against another; returns at once."""
        self._add(self._explain(volume, label, against), done, failed, quick=True)

    def _explain(self, volume: Any, label: str, against: str | None) -> Steps:
        found = self._live(volume)
        results.check_voxels(volume, found)
        path = self.engine.file("evidence.nii")
        try:
            evidence = yield from ask(self.engine.evidence, found.prediction, path, label=label, against=against)
            answer = yield from ask(self.engine.regions, found.prediction, label=label)
            found.evidence, found.regions = evidence, answer["regions"]
            yield from results.while_there(self, volume, results.place_steps(self, volume, found))
            return found
        finally:
            exchange.discard(path)

    def region_to_segment(self, volume: Any, region: int, *, done: Done = _nothing, failed: Failed = _nothing) -> None:
        """Make a segment of a region; returns at once."""
        self._add(segments.region_steps(self, volume, self.finding_of(volume), region), done, failed, quick=True)

    def export(
        self,
        volume: Any,
        folder: str,
        name: str,
        *,
        nrrd: bool = False,
        report: bool = True,
        done: Done = _nothing,
        failed: Failed = _nothing,
    ) -> None:
        """Write evidence, tables and report; ``done`` gets the paths by kind. Returns at once.

        Args:
            volume: the scan.
            folder: for the files; where one of them lies there already, a new folder in it, so that nothing is lost.
            name: what the files of the scan begin with; characters that a file system refuses are replaced.
            nrrd: the evidence as NRRD too.
            report: pictures and a page too.
            done: called with the paths.
            failed: called with code and message.
        """
        self._add(self._export(volume, folder, name, nrrd, report), done, failed)

    def _export(self, volume: Any, folder: str, name: str, nrrd: bool, report: bool) -> Steps:
        found = self._live(volume)
        if not folder or not name:
            raise TaskError("bad_argument", _("choose a folder and a name for the files"))
        name = results.clean_name(name)  # as the engine does for its files: all are to be found under one name
        folder = results.free_folder(folder, name)
        answer = yield from ask(self.engine.save, found.prediction, folder=folder, name=name, report=report)
        files = dict(answer["files"])
        if nrrd:
            label, against = found.evidence["label"], found.evidence.get("against")
            path = os.path.join(folder, results.map_name(name, found))
            yield from ask(self.engine.evidence, found.prediction, path, label=label, against=against)
            files["evidence_nrrd"] = path
        return files

    def run_batch(
        self,
        volumes: Sequence[Any],
        bundle: str,
        *,
        done: Done = _nothing,
        failed: Failed = _nothing,
        progress: Progress = _nothing,
    ) -> None:
        """Predict many volumes; a table in the scene gets a row for each, failed ones too. Returns at once.

        ``done`` gets the table node. One that fails does not stop the others; cancelling keeps the rows so far.
        """
        self._add(batch.steps(self, list(volumes), bundle, progress), done, failed)
