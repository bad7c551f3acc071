"""The model card (Mitchell et al. 2019, arXiv 1810.03993) of a bundle, written from facts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from medattn_core.tasks import TaskSpec

INTENSITIES = {
    "foreground_mean": "divided by the mean of the image's foreground (above {lower:g} times its 99.5th percentile), "
    "cut to 0 to {upper:g}: the scanner's units do not matter",
    "percentile": "the image's percentiles {lower:g} and {upper:g} become 0 and 1, what lies beyond is cut",
    "window": "{lower:g} and {upper:g}, in the file's units, become 0 and 1, what lies beyond is cut",
}
"""The intensity rules in words."""


def model_card(
    *,
    name: str,
    task: TaskSpec,
    network: Mapping[str, Any],
    description: str = "",
    version: str = "",
    metrics: Mapping[str, Any] | None = None,
    parameters: int | None = None,
    receptive_field: int | None = None,
    members: int = 1,
    training_data: str = "",
    evaluation: str = "",
    limitations: str = "",
) -> str:
    """Markdown for ``docs/README.md``.

    Args:
        name: of the bundle.
        task: what it takes and gives.
        network: AttentionCNN keyword arguments.
        description: what it is for, in a sentence or more.
        version: of the bundle.
        metrics: name to value; mappings become one row a key.
        parameters: number of weights; of an ensemble, of each of its networks.
        receptive_field: pixels of the model grid that one evidence cell can see, where known.
        members: networks of the bundle: several are an ensemble.
        training_data: what it was trained on, with the source.
        evaluation: how the metrics were measured.
        limitations: what is known not to work.
    """
    parts = [
        f"# {name} {version}".rstrip(),
        description or task.description,
        "Research use only: not a medical device.",
    ]
    parts += ["## What it takes", _takes(task), "## What it gives", _gives(task)]
    parts += ["## How it decides", _decides(network, task, parameters, receptive_field, members)]
    if training_data:
        parts += ["## Training data", training_data]
    if metrics or evaluation:
        parts += ["## How well", evaluation, _table(metrics or {})]
    # Where neither data nor figures stand above, there is nothing to refer to.
    outside = "Not measured outside the data named above. " if training_data or metrics else ""
    parts += [
        "## Limits",
        limitations
        or f"{outside}Scans of another modality, body part, age group or scanner may give confident wrong answers.",
        "## Use",
        f"```\n{predict_command(name, task)}\n```",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def origin_section(card: str, started_from: Mapping[str, str] | None) -> str:
    """A card with the bundle that the training started from, if there is one and the card does not say so."""
    heading = "## Where it started"
    if not started_from or heading in card:
        return card
    what = (
        f"From the weights of bundle `{started_from['name']}` {started_from['version']}: what that was trained on, and "
        "under which licence, counts here too. Cases that it had been trained on are measured too well."
    )
    return f"{card.rstrip()}\n\n{heading}\n\n{what}\n"


def predict_command(name: str, task: TaskSpec) -> str:
    """How a scan is predicted on the command line."""
    further = "".join(f" --channel {channel.upper().replace(' ', '_')}" for channel in task.channels[1:])
    return f"medattn predict SCAN{further} --bundle {name} --output FOLDER --report"


def _takes(task: TaskSpec) -> str:
    spacing = " x ".join(f"{s:g}" for s in task.spacing)
    lines = [f"- modality: {', '.join(task.modality) or 'any'}"]
    if task.slicewise:
        lines.append(
            f"- single slices and whole volumes: each slice is looked at by itself at {spacing} mm, all are pooled "
            f"together; slices closer than {task.slice_spacing:g} mm are averaged to that distance"
        )
    else:
        lines.append(f"- {task.spatial_dims}D images, resampled to {spacing} mm")
    if task.size is not None:
        lines.append(f"- the central {' x '.join(map(str, task.size))} pixels of that grid")
    if task.field_of_view is not None:
        lines.append(f"- pictures without pixel size are taken as {task.field_of_view:g} mm along their longer side")
    if len(task.channels) > 1:
        lines.insert(0, f"- {len(task.channels)} images of one scan, in this order: {', '.join(task.channels)}")
    each = task.intensities if len(set(task.intensities)) > 1 else task.intensities[:1]
    for name, rule in zip(task.channels, each, strict=False):
        of = f" of {name}" if len(each) > 1 else ""
        lines.append(f"- intensities{of}: {INTENSITIES[rule.rule].format(lower=rule.lower, upper=rule.upper)}")
    return "\n".join(lines)


def _gives(task: TaskSpec) -> str:
    if task.kind == "regression":
        return f"- {', '.join(task.labels)}" + (f", in {task.unit}" if task.unit else "")
    how = {
        "softmax": "probabilities that sum to one",
        "sigmoid": "a probability for each, one against the rest: all may be low, or several high",
    }[task.activation]
    lines = [f"- {', '.join(task.labels)}: {how if len(task.labels) > 1 else 'its probability'}"]
    if task.threshold is not None and task.kind == "multilabel":
        lines.append(f"- a label is said from a probability of {task.threshold:g} on; where none reaches it, none is")
    elif task.threshold is not None:
        lines.append(f"- where no label reaches {task.threshold:g} the result carries the warning `below_threshold`")
    return "\n".join(lines)


def _decides(
    network: Mapping[str, Any], task: TaskSpec, parameters: int | None, field: int | None, members: int
) -> str:
    stride = int(network.get("evidence_stride", 8))
    cell = " x ".join(f"{stride * s:g}" for s in task.spacing)
    size = f", {parameters / 1e6:.1f} million parameters" if parameters else ""
    text, each = "", ""
    if members > 1:
        value = "value" if task.kind == "regression" else "logit"
        text = f"An ensemble of {members} networks: its {value} and its evidence are the means of theirs. Each is an "
        each = " of each network"
    text += (
        f"AttentionCNN, encoder `{network.get('encoder', 'compact')}`, {network.get('pooling', 'evidence')} "
        f"pooling{size}. The logit{each} is a frozen bias plus the sum of the contributions of evidence cells "
        f"of {cell} mm."
    )
    if field is not None:
        text += (
            f" A cell can see at most {field} pixels ({field * max(task.spacing):.0f} mm) along each axis; the "
            "evidence is exact over cells, not over single pixels."
        )
    return text


def _table(metrics: Mapping[str, Any]) -> str:
    rows = []
    for name, value in metrics.items():
        if isinstance(value, Mapping):
            rows += [(f"{name}, {key}", entry) for key, entry in value.items()]
        else:
            rows.append((name, value))
    if not rows:
        return ""
    body = "\n".join(f"| {name} | {_number(value)} |" for name, value in rows)
    return f"| measure | value |\n|---|---|\n{body}"


def _number(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3f}"
    if isinstance(value, (list, tuple)):
        return ", ".join(_number(entry) for entry in value)
    return str(value)
