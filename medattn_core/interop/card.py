"""The model card of an exported bundle: what was written at training, and what somebody who was not there must know."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from medattn_core.bundles import Bundle
from medattn_core.bundles.card import predict_command
from medattn_core.errors import BundleError

_USE = """## Use with MONAI

```
python -m monai.bundle run --bundle_root . --config_file configs/inference.json --meta_file configs/metadata.json \\
    --dataset_dir FOLDER_OF_SCANS --output_dir RESULTS
```

{folders}Run from this folder, or give its path for `--bundle_root` and the files. `RESULTS/predictions.csv`
holds {what}, and `<name>_evidence.nii.gz` the evidence on the grid of each scan: a density whose integral is the logit
minus the bias.
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


def read_metrics(path: Path, bundle: Bundle) -> dict[str, Any]:
    """Scores of `medattn evaluate` (its metrics.json) as ``eval_metrics``: value, and the interval where it has one.

    Raises:
        BundleError: ``bad_argument``: not such a file, or of other weights.
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
        return {
            name: {key: score[key] for key in ("value", "low", "high") if score.get(key) is not None}
            for name, score in found.items()
            if isinstance(score, dict) and score.get("value") is not None
        } | {"cases": data["cases"]}
    except (OSError, ValueError, AttributeError, KeyError, TypeError) as error:
        raise BundleError(
            "bad_argument", f"{path}: no metrics.json of `medattn evaluate` ({type(error).__name__}); give such a file"
        ) from error


def export_card(
    bundle: Bundle, *, formats: tuple[str, ...], self_contained: bool, data_list: str, metrics: Mapping[str, Any] | None
) -> str:
    """Markdown for ``docs/README.md``: the bundle's own card with intended use, intervals and use with MONAI."""
    text = (bundle.path / "docs" / "README.md").read_text(encoding="utf-8").rstrip()
    text = re.sub(r"\n## Use\n.*?(?=\n## |\Z)", "", text, flags=re.DOTALL).rstrip()
    parts = [text]
    if "## Intended use" not in text:
        parts.append(f"## Intended use\n\n{bundle.metadata.get('intended_use', '')}")
    if "## Training data" not in text:
        license_text = (bundle.path / "docs" / "data_license.txt").read_text(encoding="utf-8").strip()
        parts.append(f"## Training data\n\n{license_text}")
    parts.append("## Intervals\n\n" + _intervals(metrics or bundle.metadata.get("eval_metrics", {})))
    regression, channels = bundle.task.kind == "regression", bundle.task.channels
    needs = "It needs monai, torch, nibabel and SimpleITK" + ("." if self_contained else ", and medattn.")
    parts.append(
        _USE.format(
            what="the value of each scan" if regression else "the probabilities of each scan",
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


def _intervals(metrics: Mapping[str, Any]) -> str:
    rows = [
        f"| {name} | {score['value']:.4g} | {score['low']:.4g} to {score['high']:.4g} |"
        for name, score in metrics.items()
        if isinstance(score, Mapping) and {"value", "low", "high"} <= set(score)
    ]
    if not rows:
        return (
            "No intervals were measured for the figures above. `medattn evaluate` on a test list gives them, over "
            "patients; `medattn bundle export --metrics` writes them here."
        )
    return "\n".join(
        ["95 % intervals, a bootstrap over patients.", "", "| measure | value | interval |", "|---|---|---|", *rows]
    )
