"""The model card of an exported bundle: what was written at training, and what somebody who was not there must know."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medattn_core.bundles import Bundle
from medattn_core.bundles.card import predict_command
from medattn_core.datalists.case import NO_LABEL, NO_LABEL_WORDS
from medattn_core.errors import BundleError

_USE = """## Use with MONAI

```
python -m monai.bundle run --bundle_root . --config_file configs/inference.json --meta_file configs/metadata.json \\
    --dataset_dir FOLDER_OF_SCANS --output_dir RESULTS
```

{folders}Run from this folder, or give its path for `--bundle_root` and the files. `RESULTS/predictions.csv`
holds {what}, and `<name>_evidence.nii.gz` the evidence on the grid of each scan: a density whose integral is the logit
minus the bias (of a picture without pixel size: the contribution of each pixel). A scan that cannot be used is a row
with `error_code` and `error_message`; the others are predicted.
{needs}

| file | is |
|---|---|
| `configs/inference.json` | scans in, table and evidence out |
| `configs/train.json`, `configs/multi_gpu_train.json` | the training, for one process and for `torchrun` |
| `configs/evaluate.json` | scores on a data list: `{data_list}` in `--dataset_dir` |
{formats}"""

_FORMATS = {
    "torchscript": "| `models/model.ts` | TorchScript; `forward` gives logits, `attend` also the evidence |",
    "onnx": "| `models/model.onnx` | ONNX; outputs `logits` and `evidence` |",
    "openvino": "| `models/model.xml`, `model.bin` | OpenVINO; outputs `logits` and `evidence` |",
}


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Scores of `medattn evaluate`.

    Attributes:
        scores: as ``eval_metrics``: name to ``value``, and ``low`` and ``high`` where there is an interval; ``cases``.
        without: why a score has no interval.
        data: name of the data list, and the part of it, for a person.
    """

    scores: Mapping[str, Any]
    without: str
    data: str


def read_metrics(path: Path, bundle: Bundle) -> Measured:
    """Scores of `medattn evaluate`: its metrics.json.

    Raises:
        BundleError: ``bad_argument``: not such a file, one without a score, or of other weights.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        if bundle.stacked == 1 and data.get("weights_sha256") not in (None, bundle.weights_sha256):
            raise BundleError(
                "bad_argument",
                f"{path}: the scores of {data.get('bundle')} {data.get('bundle_version')}, of other weights than "
                f"{bundle.name} {bundle.version}; evaluate this one",
            )
        found = {**data.get("classification", {}), **data.get("regression", {})}
        scores = {
            _today(name): {key: score[key] for key in ("value", "low", "high") if score.get(key) is not None}
            for name, score in found.items()
            if isinstance(score, dict) and score.get("value") is not None
        }
        if not scores:
            raise BundleError(
                "bad_argument",
                f"{path}: no scores of `medattn evaluate` (those of an exported evaluate.json are others); "
                "accepted: one that `medattn evaluate` wrote; run it on a test list and give that file",
            )
        return Measured(scores=scores | {"cases": data["cases"]}, without=_why_none(data), data=_which(data))
    except (OSError, ValueError, AttributeError, KeyError, TypeError) as error:
        raise BundleError(
            "bad_argument", f"{path}: no metrics.json of `medattn evaluate` ({type(error).__name__}); give such a file"
        ) from error


def _today(name: str) -> str:
    """The name of a score; in older files those of none of the labels end in its sign."""
    return f"{name.removesuffix(NO_LABEL)}{NO_LABEL_WORDS}" if name.endswith(f"_{NO_LABEL}") else name


def _which(data: Mapping[str, Any]) -> str:
    """What a metrics.json was measured on."""
    part = "" if data.get("section") is None else f", list `{data['section']}`"
    name = f"`{data['data']}`" if data.get("data") else "a list that it does not name"
    return f"{name}{part}" + ("" if data.get("fold") is None else f", fold {data['fold']}")


def _why_none(data: Mapping[str, Any]) -> str:
    """Why a score of a metrics.json has no interval, as far as the file says."""
    notes, settings = data.get("intervals", {}), data.get("settings", {})
    if settings.get("bootstrap") == 0:
        return "no bootstrap was made (`--bootstrap 0`)"
    if notes.get("given") is False:
        return f"fewer than {notes.get('fewest_patients')} patients, which say too little of the spread among others"
    if notes.get("given"):
        return "the bootstrap has no spread, or too few patients are of one of the kinds that the measure compares"
    return "the file of `medattn evaluate` does not say why"


def export_card(
    bundle: Bundle, *, formats: tuple[str, ...], self_contained: bool, data_list: str, metrics: Measured | None
) -> str:
    """Markdown for ``docs/README.md``: the bundle's own card with intended use, intervals and use with MONAI."""
    text = (bundle.path / "docs" / "README.md").read_text(encoding="utf-8").rstrip()
    # What is written anew below: the bundle may be an export itself.
    sections = "Use|Intervals|Use with MONAI|Use with MedAttn"
    text = re.sub(rf"\n## (?:{sections})\n.*?(?=\n## |\Z)", "", text, flags=re.DOTALL).rstrip()
    parts = [text]
    if "## Intended use" not in text:
        parts.append(f"## Intended use\n\n{bundle.metadata.get('intended_use', '')}")
    if "## Training data" not in text:
        license_text = (bundle.path / "docs" / "data_license.txt").read_text(encoding="utf-8").strip()
        parts.append(f"## Training data\n\n{license_text}")
    parts.append("## Intervals\n\n" + _intervals(bundle, metrics))
    regression, channels = bundle.task.kind == "regression", bundle.task.channels
    needs = "It needs monai, torch, nibabel and SimpleITK" + ("." if self_contained else ", and medattn.")
    parts.append(
        _USE.format(
            what="the value of each scan"
            if regression
            else "what is said of each scan (`present`), its most probable label (`label`) and the probabilities",
            needs=needs + " Training and evaluation also need pytorch-ignite and scikit-learn.",
            data_list=data_list,
            folders=f"`FOLDER_OF_SCANS` holds a folder for each scan, and that {len(channels)} files: in the order of "
            f"their names {', '.join(channels)}. "
            if len(channels) > 1
            else "",
            formats="\n".join(_FORMATS[name] for name in formats),
        ).rstrip()
    )
    parts.append(f"## Use with MedAttn\n\n```\n{predict_command(bundle.name, bundle.task)}\n```")
    return "\n\n".join(parts) + "\n"


def _numbers(score: Mapping[str, Any], *keys: str) -> bool:
    return all(isinstance(score.get(key), (int, float)) for key in keys)


def _intervals(bundle: Bundle, metrics: Measured | None) -> str:
    scores = bundle.metadata.get("eval_metrics", {}) if metrics is None else metrics.scores
    numbers = {name: s for name, s in scores.items() if isinstance(s, Mapping) and _numbers(s, "value")}
    between = {name: f"{s['low']:.4g} to {s['high']:.4g}" for name, s in numbers.items() if _numbers(s, "low", "high")}
    if not between and (metrics is None or not numbers):
        return (
            "No intervals were measured for the figures above. `medattn evaluate` on a test list gives them, over "
            "patients; `medattn bundle export --metrics` writes them here."
        )
    words = []
    if metrics is not None:
        words.append(
            f"Measured by `medattn evaluate` on {metrics.scores['cases']} case(s) of {metrics.data}; figures above of "
            "the same name are those of the training."
        )
    words += ["95 % intervals, a bootstrap over patients."] if between else []
    if metrics is not None and len(between) < len(numbers):
        words.append(f"{'Where there is none' if between else 'No intervals'}: {metrics.without}.")
    shown = numbers if metrics is not None else between
    rows = [f"| {name} | {numbers[name]['value']:.4g} | {between.get(name, '')} |" for name in shown]
    return "\n".join([" ".join(words), "", "| measure | value | interval |", "|---|---|---|", *rows])
