"""`medattn bundle verify`: everything that can be known of a bundle, without running anything of a stranger's.

What is evaluated by MONAI (``inference.json``), or can run code when it is loaded (TorchScript), is looked at only
where it is this package's own text, the bundle is a shipped one, or the user trusts it.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch

from medattn_core.bundles import Bundle, load, load_networks, shipped_names
from medattn_core.bundles.bundle import CARD, DATA_LICENSE, EVALUATE, INFERENCE, LICENSE, METADATA, TRAIN, WEIGHTS
from medattn_core.bundles.files import member, read_json
from medattn_core.errors import BundleError, MedAttnError
from medattn_core.inference import Predictor
from medattn_core.interop import code, configs, formats, parity, schema, workflow
from medattn_core.interop.archive import opened
from medattn_core.interop.report import Report
from medattn_core.volumes import write

COMPLETE = (LICENSE, METADATA, INFERENCE, TRAIN, EVALUATE, configs.MULTI_GPU_TRAIN, configs.LOGGING, WEIGHTS, CARD,
            DATA_LICENSE)  # fmt: skip
"""Files of a complete bundle."""


def verify(
    source: str | os.PathLike[str],
    *,
    trust: bool = False,
    schemas: str | os.PathLike[str] | None = None,
    inputs: Sequence[str | os.PathLike[str]] = (),
) -> Report:
    """Check a bundle.

    Args:
        source: shipped name, folder, or archive.
        trust: the bundle may run its code.
        schemas: MONAI's ``meta_schema_<date>.json``, or a folder of them, to check against as well.
        inputs: scans on which the forms of the model are compared, besides a made-up one.

    Raises:
        BundleError: ``unknown_bundle``: there is nothing of that name. Everything else is in the report.
    """
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
        runs = f"{len(suspicious)} things would run as code, none was run ({suspicious[0]})"
        (report.passed if trust else report.skipped)(
            "configurations", f"{runs}; trusted" if trust else f"{runs}; --trust lets them"
        )
    _step(report, "network in and out", lambda: _in_and_out(bundle, metadata))
    with tempfile.TemporaryDirectory(prefix="medattn-verify-") as folder:
        _compare(bundle, report, trust=trust, own=own, inputs=inputs, folder=Path(folder))


def _step(report: Report, name: str, run: Any, words: Any = lambda answer: str(answer)) -> Any:
    """Run a check that says no by raising; what it returns, or None."""
    try:
        answer = run()
    except MedAttnError as error:
        report.failed(name, error)
        return None
    report.passed(name, words(answer))
    return answer


def _in_and_out(bundle: Bundle, metadata: dict[str, Any]) -> str:
    """What MONAI's ``verify_net_in_out`` looks at, on the network that the metadata describe."""
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
    """Predictor, the example through MONAI, and every exported format."""
    scans = folder / "scans"
    made = parity.example(bundle.task)
    place = scans / "example"
    place.mkdir(parents=True)
    for index, volume in enumerate(made):
        write(volume, place / f"{index:03d}.nii.gz")
    first: Any = [place / f"{i:03d}.nii.gz" for i in range(len(made))]
    single = len(made) == 1
    if single:
        first[0] = first[0].rename(scans / "example.nii.gz")
        place.rmdir()
    predictor = Predictor.from_bundle(bundle, device="cpu")
    sources: list[Any] = [first[0] if single else first, *inputs]
    try:
        predictions = [predictor(source) for source in sources]
    except MedAttnError as error:
        report.failed("prediction", error)
        return
    report.passed("prediction", f"{len(sources)} input(s)")
    if not (own or trust):
        report.skipped("inference.json", "running it would run the bundle's code; --trust lets it")
    elif not report.good:
        report.skipped("inference.json", "not run: a check above failed")
    elif not own or (bundle.path / configs.MULTI_GPU_TRAIN).is_file() or not bundle.members:
        probabilities = predictions[0].task.probabilities(predictions[0].logits)
        _step(report, "inference.json", lambda: _by_monai(bundle, scans, folder / "results", probabilities))
    else:
        report.skipped("inference.json", "of an ensemble before export it runs the first member alone; export it")
    for name, (open_, packages) in parity.RUNTIMES.items():
        path = bundle.path / formats.FILES[name][0]
        lacking = [package for package in packages if find_spec(package) is None]
        if not path.is_file():
            continue
        if name == "torchscript" and not trust:
            report.skipped(name, "loading TorchScript can run code; --trust lets it")
        elif lacking:
            report.skipped(name, f"needs {', '.join(lacking)}")
        else:
            _step(report, name, lambda o=open_, p=path: _by_runtime(o(p), sources, predictions))


def _by_runtime(runtime: parity.Runtime, sources: Sequence[Any], predictions: Sequence[Any]) -> str:
    worst = parity.Difference(0.0, 0.0)
    for source, prediction in zip(sources, predictions, strict=True):
        found = parity.compare(prediction, runtime, source)
        worst = parity.Difference(max(worst.probabilities, found.probabilities), max(worst.evidence, found.evidence))
        if not found.good:
            raise BundleError("bad_bundle", f"{prediction.volume.source}: {found}; {parity.TOLERANCE:g} is accepted")
    return f"{len(sources)} input(s): {worst}"


def _by_monai(bundle: Bundle, scans: Path, results: Path, ours: np.ndarray) -> str:
    answer = workflow.run_apart(bundle.path, scans, results)
    lacking = [f"{name}.json: {', '.join(keys)}" for name, keys in answer["missing"].items() if keys]
    theirs = np.array(answer["outputs"][0])
    # The configuration of a bundle may end in logits or in probabilities; ours end in probabilities.
    difference = parity.gap(ours, theirs)
    complete = (bundle.path / configs.MULTI_GPU_TRAIN).is_file()
    if lacking and complete:
        raise BundleError("bad_bundle", f"properties that MONAI requires are missing: {'; '.join(lacking)}")
    if not difference <= parity.TOLERANCE:
        raise BundleError(
            "bad_bundle",
            f"inference.json and Predictor differ by {difference:.1e} on the example; {parity.TOLERANCE:g} is accepted",
        )
    more = f"; not in it: {'; '.join(lacking)}" if lacking else "; no property is missing"
    return f"as Predictor on the example, within {difference:.1e}{more}"


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
