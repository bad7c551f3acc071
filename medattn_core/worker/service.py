"""The requests of the worker, answered one after the other. No streams here: a viewer without a worker calls it too."""

from __future__ import annotations

import math
import os
import platform
import time
import uuid
from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from typing import TYPE_CHECKING, Any

from medattn_core.errors import MedAttnError, PredictionError, known_error
from medattn_core.version import __version__
from medattn_core.worker import PROTOCOL
from medattn_core.worker.messages import Request
from medattn_core.worker.stopping import Course, LayerWatch

if TYPE_CHECKING:
    import numpy as np

    from medattn_core.bundles import Bundle
    from medattn_core.inference import Prediction, Predictor
    from medattn_core.outputs import ResultWriter

WARM = (
    *("torch", "SimpleITK", "nibabel.nifti1"),
    *("medattn_core.inference", "medattn_core.networks.attention_cnn", "medattn_core.outputs.report"),
    *("medattn_core.volumes.itk_formats", "medattn_core.volumes.nifti"),
    *("medattn_core.worker.describe", "medattn_core.worker.questions"),
)
"""What a prediction imports, the slowest first."""


class Service:
    """A model, the last prediction, and the requests about them."""

    def __init__(self) -> None:
        self._predictor: Predictor | None = None
        self._asked: tuple[str, str] | None = None
        self._watch: LayerWatch | None = None
        self._prediction: Prediction | None = None
        self._number = ""
        self._inputs: tuple[str, ...] = ()
        """Files of the last prediction, which no result is written over."""
        self._batches: dict[str, ResultWriter] = {}
        self._greeted = False

    def handle(self, request: Request, course: Course | None = None) -> dict[str, Any]:
        """Answer a request other than ``cancel`` and ``quit``.

        Raises:
            MedAttnError: every error, with its code; foreign ones as ``internal`` or ``too_large``.
        """
        course = course or Course()
        if not self._greeted and request.type != "hello":
            raise MedAttnError("bad_request", f"{request.type} before hello; say hello with your protocol first")
        answer: Callable[[Request, Course], dict[str, Any]] = getattr(self, f"_{request.type}")
        course.check()
        try:
            return answer(request, course)
        except MedAttnError:
            raise
        except ImportError as error:
            raise MedAttnError(
                "missing_dependency",
                f"{request.type}: {error.name or 'a package'} is not (wholly) installed in this Python; install it",
            ) from None
        except MemoryError as error:
            todo = "close other programs, crop the scan, or use a larger machine"
            raise known_error(error, request.type, memory=todo) from None
        finally:
            if self._watch is not None:
                self._watch.begin(None)

    def warm(self) -> None:
        """Import what predictions need, so that the first of them does not wait for it."""
        for name in WARM:
            import_module(name)

    def _hello(self, request: Request, course: Course) -> dict[str, Any]:
        from medattn_core.bundles import load, shipped_names
        from medattn_core.worker import describe

        if request.get("protocol") != PROTOCOL:
            raise MedAttnError(
                "version_mismatch",
                f"protocol {request.get('protocol')} was asked for, medattn {__version__} speaks {PROTOCOL}: "
                "update the extension and medattn together",
            )
        bundles = []
        for name in shipped_names():
            try:
                bundles.append(describe.bundle(load(name)))
            except MedAttnError:
                continue  # `load` says what is wrong with it, to whoever wants it
        course.settle()
        self._greeted = True
        return {
            "protocol": PROTOCOL,
            "version": __version__,
            "python": platform.python_version(),
            "pid": os.getpid(),
            "bundles": bundles,
        }

    def _load(self, request: Request, course: Course) -> dict[str, Any]:
        from medattn_core.worker import describe

        course.at("load", 0.1, "loading the model")
        predictor = self._loaded(request.get("bundle"), request.get("device", "auto"), course)
        course.at("load", 0.6, "preparing the model")
        self._exercise(predictor, course)
        return {"bundle": describe.bundle(predictor.bundle), "device": predictor.device}

    def _loaded(self, bundle: str | None, device: str | None, course: Course) -> Predictor:
        """The predictor of a bundle: the one that is there if it is the same, unchanged on disk."""
        if bundle is None:
            if self._predictor is None:
                raise MedAttnError("bad_argument", "bundle: no model is loaded yet; name a bundle or the folder of one")
            if device is None or (self._asked is not None and device == self._asked[1]):
                return self._predictor
            bundle = str(self._predictor.bundle.path)
        from medattn_core.bundles import load

        found: Bundle = load(bundle)
        wanted = (str(found.path), device or (self._asked[1] if self._asked else "auto"))
        there = self._predictor
        if there is not None and wanted == self._asked and there.bundle.metadata == found.metadata:
            return there
        course.check()
        from medattn_core.inference import Predictor

        predictor = Predictor.from_bundle(found, device=wanted[1])
        self._predictor, self._asked, self._watch = predictor, wanted, LayerWatch(predictor)
        return predictor

    def _exercise(self, predictor: Predictor, course: Course) -> None:
        """One pass over nothing, in which the libraries beneath choose and build their kernels."""
        import torch

        assert self._watch is not None
        self._watch.begin(course)
        task = predictor.task
        size = task.size or (64,) * task.spatial_dims
        try:
            with torch.inference_mode():
                for network in predictor.networks:
                    network(torch.zeros(1, len(task.channels), *size, device=predictor.device))
        except RuntimeError:
            return  # a scan will say what is wrong

    def _predict(self, request: Request, course: Course) -> dict[str, Any]:
        from medattn_core.transforms.grid import plan_grid
        from medattn_core.volumes import read
        from medattn_core.worker import describe

        start = time.perf_counter()
        inputs = tuple(filter(None, (request.get("path"), *request.get("channels", []), request.get("mask"))))
        for name in ("evidence", "region_map"):
            _spare(request.get(name), (*inputs, *self._inputs))
        course.at("load", 0.0, "loading the model")
        predictor = self._loaded(request.get("bundle"), request.get("device"), course)
        assert self._watch is not None
        for label in (request.get("label"), request.get("against")):
            if label is not None:
                predictor.task.index(label)
        course.at("read", 0.05, "reading the scan")
        loaded = time.perf_counter()
        volume = read(request.get("path"), series=request.get("series"), modality=predictor.task.modality)
        volume = replace(
            volume,
            source=request.get("name", volume.source),
            modality=request.get("modality", volume.modality),
        )
        channels = []
        for path in request.get("channels", []):
            course.check()
            channels.append(read(path))
        was_read = time.perf_counter()
        course.at("prepare", 0.15, "placing the scan on the grid of the model")
        passes = 1
        if predictor.task.spatial_dims == 2:
            passes = math.ceil(plan_grid(volume, predictor.task).shape[2] / predictor.slices_at_once)
        views = 1 + len(predictor.network.views)
        self._watch.begin(course, passes * views * len(predictor.networks))
        prediction = predictor((volume, *channels), mask=request.get("mask"))
        course.at("evidence", 0.85, "laying the evidence over the scan")
        number = uuid.uuid4().hex
        told = describe.result(prediction, number)
        course.check()
        told["evidence"] = describe.evidence(
            prediction, request.get("evidence"), request.get("label"), request.get("against")
        )
        self._region_map(prediction, request, request.get("label"))
        course.check()
        timings = {"load": loaded - start, **prediction.timings, "read": was_read - loaded}
        timings["total"] = time.perf_counter() - start
        told["timings_s"] = {stage: round(seconds, 4) for stage, seconds in timings.items()}
        course.settle()  # before it takes the place of the last one, which a cancelled one leaves as it was
        self._prediction, self._number, self._inputs = prediction.annotated(timings=timings), number, inputs
        return told

    def _last(self, request: Request) -> Prediction:
        if self._prediction is None or request.get("prediction") != self._number:
            raise PredictionError(
                "no_prediction", "that prediction is not kept any more, only the last one is; predict the scan again"
            )
        return self._prediction

    def _evidence(self, request: Request, course: Course) -> dict[str, Any]:
        from medattn_core.worker import describe

        prediction = self._last(request)
        course.at("evidence", 0.1, "laying the evidence over the scan")
        _spare(request.get("path"), self._inputs)
        return describe.evidence(prediction, request.get("path"), request.get("label"), request.get("against"))

    def _regions(self, request: Request, course: Course) -> dict[str, Any]:
        from medattn_core.worker import describe

        prediction = self._last(request)
        label = request.get("label", prediction.label)
        self._region_map(prediction, request, label)
        return {"label": label, "regions": describe.regions(prediction, label)}

    def _region_map(self, prediction: Prediction, request: Request, label: str | None) -> None:
        """Write the rank of the region that each voxel belongs to, where the request names a file for it."""
        if request.get("region_map") is not None:
            from medattn_core.worker.questions import ranks

            _spare(request.get("region_map"), self._inputs)
            self._write(prediction, ranks(prediction, label), request.get("region_map"))

    def _write(self, prediction: Prediction, data: np.ndarray, path: str) -> None:
        from medattn_core import volumes

        volumes.write(volumes.Volume(data=data, **prediction.volume.identity()), path)

    def _mask(self, request: Request, course: Course) -> dict[str, Any]:
        from medattn_core.volumes import geometry
        from medattn_core.worker import describe
        from medattn_core.worker.questions import chosen, joined

        prediction = self._last(request)
        volume = prediction.volume
        inside = joined(prediction, chosen(prediction, request.get("regions"), request.get("label")))
        path = os.path.abspath(request.get("path"))
        _spare(path, self._inputs)
        self._write(prediction, inside, path)
        voxel_mm3 = 1000.0 * geometry.voxel_volume_ml(volume.affine)
        volume_mm3 = float(inside.sum()) * voxel_mm3 if volume.spacing_known else None
        return {"path": path, "volume_mm3": volume_mm3, **describe.layout(path, volume.shape, "|u1")}

    def _what_if(self, request: Request, course: Course) -> dict[str, Any]:
        from medattn_core.worker import describe
        from medattn_core.worker.questions import ask

        prediction = self._last(request)
        modes = [mode for mode in ("without", "only") if request.get(mode) is not None]
        if len(modes) != 1:
            raise MedAttnError("bad_request", "what_if needs one of 'without' and 'only', a list of region ids")
        mode, ranks, mask = modes[0], request.get(modes[0]), request.get("mask")
        label = request.get("label", prediction.label)
        answer = ask(prediction, mode, ranks, mask=mask, label=label)
        question = {"mode": mode, "regions": ranks, "mask": mask is not None, "label": label}
        return describe.what_if(prediction, answer, question)

    def _save(self, request: Request, course: Course) -> dict[str, Any]:
        from medattn_core.outputs import ResultWriter, save
        from medattn_core.outputs.writer import kinds

        prediction = self._last(request)
        folder, report, name = request.get("folder"), request.get("report", False), request.get("name")
        batch = request.get("batch")
        if batch not in (None, "new", "add"):
            raise MedAttnError("bad_argument", f"batch is {batch!r}; 'new', 'add' or nothing is accepted")
        course.at("save", 0.1, "saving")
        course.settle()  # files that are half there would be worse than those that nobody wants any more
        if batch is None:
            files = save(prediction, folder, name=name, report=report, spared=self._inputs)
        else:
            place = os.path.realpath(folder)
            if batch == "new" or place not in self._batches:
                self._batches[place] = ResultWriter(folder, report=report, add=batch == "add")
            writer = self._batches[place]
            files = writer.add(prediction, name=name, spared=self._inputs)
            error = writer.records[-1]["error"]
            files = kinds(files, writer.close())
            if error is not None:
                raise MedAttnError(error["code"], error["message"])
        return {"files": {kind: os.path.abspath(path) for kind, path in files.items()}}


def _spare(path: str | None, inputs: tuple[str, ...]) -> None:
    """Refuse to write a result over what was read."""
    if path is not None:
        from medattn_core.outputs.files import spare

        spare(path, *inputs)
