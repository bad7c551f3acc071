"""`medattn bundle verify`: everything that can be known of a bundle, without running anything of a stranger's.

What is evaluated by MONAI (``inference.json``), or can run code when it is loaded (TorchScript), is looked at only
where it is this package's own text, the bundle is a shipped one, or the user trusts it.
"""

from __future__ import annotations

import csv
import os
import shutil
import tempfile
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch

from medattn_core.arguments import several
from medattn_core.bundles import Bundle, load, load_networks, shipped_names
from medattn_core.bundles.bundle import CARD, DATA_LICENSE, EVALUATE, INFERENCE, LICENSE, METADATA, TRAIN, WEIGHTS
from medattn_core.bundles.files import member, read_json
from medattn_core.errors import BundleError, MedAttnError, PredictionError, known_error, log_trace
from medattn_core.inference import Prediction, Predictor
from medattn_core.interop import agreement, code, configs, formats, parity, schema, workflow
from medattn_core.interop.archive import opened
from medattn_core.interop.engine import paths_in
from medattn_core.interop.report import Report
from medattn_core.interop.results import DECISION, row_of, without_input_check
from medattn_core.volumes import write

COMPLETE = (LICENSE, METADATA, INFERENCE, TRAIN, EVALUATE, configs.MULTI_GPU_TRAIN, configs.LOGGING, WEIGHTS, CARD,
            DATA_LICENSE)  # fmt: skip
"""Files of a complete bundle."""

WHOLE = (".nii", ".nii.gz", ".nrrd", ".mha", ".png", ".jpg", ".jpeg", ".zip")
"""Endings of files that hold a scan by themselves: no voxels in a second file, no further slices beside them."""

Answer = tuple[Any, Prediction]
"""What Predictor was given, and what it said."""


def verify(
    source: str | os.PathLike[str],
    *,
    trust: bool = False,
    schemas: str | os.PathLike[str] | None = None,
    inputs: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] = (),
) -> Report:
    """Check a bundle.

    Args:
        source: shipped name, folder, or archive.
        trust: the bundle may run its code.
        schemas: MONAI's ``meta_schema_<date>.json``, or a folder of them, to check against as well.
        inputs: scans, or one, on which the forms of the model are compared, besides a made-up one; for a task of
            several channels folders, whose files are the channels in the order of their names.

    Raises:
        BundleError: ``unknown_bundle``: there is nothing of that name. Everything else is in the report.
        MedAttnError: ``bad_argument``: the inputs are no paths.
    """
    inputs = several("inputs", inputs)
    report = Report(bundle=os.fspath(source))
    trust = trust or str(source) in shipped_names()
    try:
        with opened(source) as root:
            if Path(source).is_file():
                report.passed("archive", "unpacked within its limits")
            _verify(root, report, trust=trust, schemas=schemas, inputs=inputs)
    except MedAttnError as error:
        if error.code == "unknown_bundle":
            raise
        report.failed("archive" if Path(source).is_file() else "bundle", error)
    return report


def _verify(root: Path, report: Report, *, trust: bool, schemas: Any, inputs: Sequence[Any]) -> None:
    metadata = read_json(member(root, METADATA))
    missing = [name for name in COMPLETE if not (root / name).is_file()]
    report.judge("files", METADATA not in missing and LICENSE not in missing,
                 f"missing: {', '.join(missing)}" if missing else f"all {len(COMPLETE)} are there")  # fmt: skip
    found = schema.problems(metadata)
    report.judge("metadata", not found, "; ".join(found[:5]) or "what MONAI's schemas ask for is there")
    if schemas is not None:
        _step(report, "schema", lambda: ", ".join(schema.check_against(metadata, Path(schemas))))
    if not isinstance(metadata.get("medattn"), dict):
        _foreign(root, report, trust=trust)
        return
    bundle = _step(report, "hashes", lambda: load(root), lambda b: f"{len(b.metadata['medattn']['files'])} files")
    if bundle is None:
        return
    networks = _step(report, "weights", lambda: load_networks(bundle), lambda n: f"{len(n)} network(s), finite numbers")
    suspicious = _step(report, "configurations", lambda: code.foreign_code(bundle), lambda _: "")
    if networks is None or suspicious is None:
        return
    report.checks.pop()  # the step before: its verdict needs words of its own
    own = not suspicious
    if own:
        report.passed("configurations", "text that this MedAttn writes itself")
    else:
        runs = (
            f"{len(suspicious)} things would run as code, none was run ({suspicious[0]}); what another version of "
            "MedAttn wrote is among them, and an export writes it anew"
        )
        (report.passed if trust else report.skipped)(
            "configurations", f"{runs}; trusted" if trust else f"{runs}; --trust lets them"
        )
    _step(report, "network in and out", lambda: _in_and_out(bundle, metadata))
    with tempfile.TemporaryDirectory(prefix="medattn-verify-") as folder:
        _compare(bundle, report, trust=trust, own=own, inputs=inputs, folder=Path(folder))
    # Last: where the tasks differ, what inference.json then says is told as well.
    _step(report, "task", lambda: agreement.same_task(bundle))


def _step(report: Report, name: str, run: Any, words: Any = lambda answer: str(answer)) -> Any:
    """Run a check that says no by raising; what it returns, or None."""
    try:
        answer = run()
    except Exception as error:  # whatever a damaged bundle does to one check, the others are made
        report.failed(name, _said(error))
        return None
    report.passed(name, words(answer))
    return answer


def _said(error: Exception) -> MedAttnError:
    """An error for the report; the trace of an unexpected one is for ``--verbose``."""
    if not isinstance(error, MedAttnError):
        log_trace(error)
    return known_error(error)


def _in_and_out(bundle: Bundle, metadata: dict[str, Any]) -> str:
    """What MONAI's ``verify_net_in_out`` looks at, on the network that the metadata describe."""
    if wrong := schema.tensor_problems(metadata):
        raise BundleError("bad_bundle", f"{'; '.join(wrong[:5])}: nothing to compare with; correct {METADATA}")
    image = next(iter(metadata["network_data_format"]["inputs"].values()))
    pred = next(iter(metadata["network_data_format"]["outputs"].values()))
    shape = formats.example_shape(bundle.task)
    if image["num_channels"] != shape[1] or pred["num_channels"] != len(bundle.task.labels):
        raise BundleError(
            "bad_bundle",
            f"network_data_format says {image['num_channels']} channel(s) in and {pred['num_channels']} out, the task "
            f"has {shape[1]} and {len(bundle.task.labels)}",
        )
    with torch.inference_mode():
        out = formats.as_module(bundle)(torch.rand(shape))
    if tuple(out.shape) != (1, len(bundle.task.labels)) or str(out.dtype) != f"torch.{pred['dtype']}":
        raise BundleError("bad_bundle", f"the network gives {tuple(out.shape)} {out.dtype}, not what the metadata say")
    return f"{list(shape)} in, {list(out.shape)} out"


def _compare(bundle: Bundle, report: Report, *, trust: bool, own: bool, inputs: Sequence[Any], folder: Path) -> None:
    """Predictor, the example and the inputs through MONAI, and every exported format."""
    sound = report.good
    scans = folder / "scans"
    predictor = Predictor.from_bundle(bundle, device="cpu")
    forms = [name for name in parity.RUNTIMES if (bundle.path / formats.FILES[name][0]).is_file()]
    example = _example(bundle, scans)
    try:
        answers: list[Answer] = [(example, predictor(example))]
    except Exception as error:
        report.failed("prediction", _said(error))
        for name in ("inference.json", *forms):
            report.skipped(name, "Predictor gave nothing to compare with")
        return
    for given in inputs:
        try:
            source = _case(given, len(bundle.task.channels))
            prediction = predictor(source)
        except MedAttnError as error:  # says nothing of the bundle: the other comparisons are made
            what = f"wrong input, nothing is compared on it: {error.message}"
            report.failed("input", MedAttnError(error.code, what))
        else:
            _lay(Path(given), scans, len(answers), prediction)
            answers.append((source, prediction))
    report.passed("prediction", f"{len(answers)} input(s)")
    if not (own or trust):
        report.skipped("inference.json", "running it would run the bundle's code; --trust lets it")
    elif not sound:
        report.skipped("inference.json", "not run: a check above failed")
    else:
        _step(report, "inference.json", lambda: _by_monai(bundle, scans, folder / "results", answers))
    for name in forms:
        open_, packages = parity.RUNTIMES[name]
        lacking = [package for package in packages if find_spec(package) is None]
        if name == "torchscript" and not trust:
            report.skipped(name, "loading TorchScript can run code; --trust lets it")
        elif lacking:
            report.skipped(name, f"needs {', '.join(lacking)}")
        else:
            path = bundle.path / formats.FILES[name][0]
            _step(report, name, lambda o=open_, p=path: _by_runtime(o(p), answers))


def _example(bundle: Bundle, scans: Path) -> Any:
    """A made-up scan as the first of a folder for ``inference.json``; what Predictor takes for it."""
    made = parity.example(bundle.task)
    several = len(made) > 1
    place = scans / "000_example" if several else scans
    place.mkdir(parents=True)
    paths = [place / (f"{index:03d}.nii.gz" if several else "000_example.nii.gz") for index in range(len(made))]
    for volume, path in zip(made, paths, strict=True):
        write(volume, path)
    return paths if several else paths[0]


def _case(given: str | os.PathLike[str], channels: int) -> Any:
    """What Predictor takes for an input: of several channels the files of its folder, in the order of their names.

    Raises:
        PredictionError: ``bad_argument``: a file where a folder is needed, or another number of files.
    """
    if channels == 1:
        return given
    paths = paths_in(os.fspath(given)) if os.path.isdir(given) else []
    if len(paths) != channels:
        found = f"holds {len(paths)} file(s)" if os.path.isdir(given) else "is no folder"
        raise PredictionError(
            "bad_argument",
            f"{given}: {found}; an input of this bundle is a folder with its {channels} channels, in the order of "
            "their names, and nothing else",
        )
    return paths


def _lay(given: Path, scans: Path, number: int, prediction: Prediction) -> None:
    """An input into the folder for ``inference.json``, as a link or, where it may have parts beside it, a copy."""
    whole = given.is_dir() or given.name.lower().endswith(WHOLE)
    target = scans / f"{number:03d}_{given.name}"
    if not whole:
        write(prediction.volume, scans / f"{number:03d}.nii.gz")
        return
    try:
        target.symlink_to(given.resolve(), target_is_directory=given.is_dir())
    except OSError:  # Windows allows links to some people only
        (shutil.copytree if given.is_dir() else shutil.copyfile)(given, target)


def _by_runtime(runtime: parity.Runtime, answers: Sequence[Answer]) -> str:
    worst = parity.Difference(0.0, 0.0)
    for source, prediction in answers:
        found = parity.compare(prediction, runtime, source)
        worst = parity.Difference(max(worst.probabilities, found.probabilities), max(worst.evidence, found.evidence))
        if not found.good:
            raise BundleError("bad_bundle", f"{prediction.volume.source}: {found}; {parity.TOLERANCE:g} is accepted")
    return f"{len(answers)} input(s): {worst}"


def _by_monai(bundle: Bundle, scans: Path, results: Path, answers: Sequence[Answer]) -> str:
    answer = workflow.run_apart(bundle.path, scans, results)
    lacking = [f"{name}.json: {', '.join(keys)}" for name, keys in answer["missing"].items() if keys]
    complete = (bundle.path / configs.MULTI_GPU_TRAIN).is_file()
    if lacking and complete:
        raise BundleError("bad_bundle", f"properties that MONAI requires are missing: {'; '.join(lacking)}")
    if wrong := [f"{name}.json: {', '.join(found)}" for name, found in answer["wrong"].items() if found]:
        raise BundleError("bad_bundle", f"MONAI could make nothing of {'; '.join(wrong)}; export the bundle again")
    if len(answer["outputs"]) != len(answers):
        raise BundleError(
            "bad_bundle", f"inference.json gives {len(answer['outputs'])} output(s) of {len(answers)} input(s)"
        )
    worst = 0.0
    for (_, prediction), output in zip(answers, answer["outputs"], strict=True):
        # The configuration of a bundle may end in logits or in probabilities; ours end in probabilities.
        difference = parity.gap(prediction.task.probabilities(prediction.logits), np.array(output))
        if not difference <= parity.TOLERANCE:
            raise BundleError(
                "bad_bundle",
                f"{prediction.volume.source}: inference.json and Predictor differ by {difference:.1e}; "
                f"{parity.TOLERANCE:g} is accepted",
            )
        worst = max(worst, difference)
    table = results / "predictions.csv"
    if table.is_file():
        _same_decisions(table, [prediction for _, prediction in answers])
    words = ["as Predictor on the example" + (f" and {len(answers) - 1} input(s)" if len(answers) > 1 else "")]
    words[0] += f", within {worst:.1e}"
    words += ["the table decides as it does"] if table.is_file() else []
    return "; ".join([*words, f"not in it: {'; '.join(lacking)}" if lacking else "no property is missing"])


def _close(prediction: Prediction) -> bool:
    """Whether a difference that passes could turn the decision."""
    if prediction.value is not None:
        return False
    likely = np.sort(prediction.task.probabilities(prediction.logits))[::-1]
    gaps = [*np.abs(likely - prediction.task.said_from), *(likely[:1] - likely[1:2])]
    return float(min(gaps)) <= parity.TOLERANCE


def _same_decisions(table: Path, predictions: Sequence[Prediction]) -> None:
    """Compare what predictions.csv says of each input with what Predictor says.

    Raises:
        BundleError: ``bad_bundle``: another label, set of labels or abstention, or no such column.
    """
    with table.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    if len(rows) != len(predictions):
        raise BundleError("bad_bundle", f"predictions.csv has {len(rows)} row(s) for {len(predictions)} input(s)")
    for row, prediction in zip(rows, predictions, strict=True):
        wanted = {} if _close(prediction) else row_of(without_input_check(prediction))
        for column in (name for name in DECISION if name in wanted):
            ours, theirs = wanted[column], row.get(column)
            # Labels that are as likely may come in another order.
            if theirs is None or sorted(ours.split("|")) != sorted(theirs.split("|")):
                found = "is not there" if theirs is None else f"says {theirs!r}"
                raise BundleError(
                    "bad_bundle",
                    f"{prediction.volume.source}: the column {column} of predictions.csv {found}, Predictor says "
                    f"{ours!r}; export the bundle again",
                )


def _foreign(root: Path, report: Report, *, trust: bool) -> None:
    """A bundle that is not MedAttn's: what it would run, and only if trusted, whether it does."""
    found = _step(report, "configurations", lambda: code.code_in(root), lambda _: "")
    if found is None:
        return
    report.checks.pop()
    what = f"not a MedAttn bundle; {len(found)} things would run as code" + (f" ({found[0]})" if found else "")
    if not trust:
        report.skipped("configurations", f"{what}; none was run; --trust lets MONAI run it")
        return
    report.passed("configurations", f"{what}; trusted")
    from medattn_core.interop.foreign import ForeignModel

    _step(report, "network in and out", lambda: ForeignModel(root).check())
