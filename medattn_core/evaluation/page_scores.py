"""The tables of scores on the page: of the whole list, and of each label."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from medattn_core.datalists.case import NO_LABEL_WORDS
from medattn_core.evaluation import page_maps
from medattn_core.evaluation.page_maps import share
from medattn_core.outputs.page import esc, table
from medattn_core.outputs.text import none_of, number, pretty

SAID = {
    "accuracy": "right label",
    "accuracy_most_probable": "most probable label right, where there is one",
    "balanced_accuracy": "right label, each label counted equally",
    "auc": "area under the ROC curve",
    "average_precision": "average precision",
    "ece": "calibration error of the probability",
    "ece_by_label": "calibration error, mean of the labels' own",
    "ece_confidence": "calibration error of the confidence",
    "brier": "Brier score",
    "set_coverage": "truth not excluded",
    "set_coverage_present": "label there: said or left open",
    "set_coverage_absent": "label not there: not said or left open",
    "set_size": "labels in a set, mean",
    "abstained": "not decided",
    "accuracy_when_decided": "right label where decided",
    "mae": "mean absolute error",
    "rmse": "root mean square error",
    "mean_error": "mean error (above zero: predicted too large)",
    "r2": "R2, explained share of the variance",
    "mae_of_the_mean": "mean absolute error of always saying the mean",
    "interval_coverage": "intervals that hold the truth",
}
SAID_OF_EACH = {
    "accuracy": "all labels right",
    "balanced_accuracy": "mean of sensitivity and specificity, each label counted equally",
    "accuracy_when_decided": "right answer where decided, one a label and case",
}
"""Where several labels are judged by themselves."""

OF_SHOWN = ("ece_confidence", "set_coverage", "set_size", "abstained", "accuracy_when_decided")
"""What is measured on cases with a label only, where one label is said."""

SHARES = ("accuracy", "accuracy_most_probable", "balanced_accuracy", "set_coverage", "set_coverage_present",
          "set_coverage_absent", "abstained", "accuracy_when_decided", "interval_coverage")  # fmt: skip


def cell(name: str, score: Mapping[str, Any], unit: str) -> tuple[str, str]:
    def one(value: float | None) -> str:
        if value is None:
            return "not measurable"
        if name in SHARES or name.startswith(("sensitivity", "specificity")):
            return share(value)
        if name in ("mae", "rmse", "mean_error", "mae_of_the_mean"):
            return f"{number(value, 4)}{f' {pretty(unit)}' if unit else ''}"
        return page_maps.figure(value)

    low, high = score.get("low"), score.get("high")
    return one(score["value"]), "" if low is None else f"{one(low)} to {one(high)}"


def each(task: Mapping[str, Any]) -> bool:
    """Whether labels are judged by themselves."""
    return task["kind"] == "multilabel" or (task["kind"] == "multiclass" and len(task["labels"]) == 1)


def scores_table(scores: Mapping[str, Any], task: Mapping[str, Any], without_label: int = 0) -> str:
    said = SAID | SAID_OF_EACH if each(task) and len(task["labels"]) > 1 else SAID
    if without_label:
        said = said | {name: f"{said[name]}, of cases with a label" for name in OF_SHOWN}
    rows = [[esc(said[name]), *map(esc, cell(name, scores[name], task["unit"]))] for name in SAID if name in scores]
    return table(["", "value", "interval"], rows, (1, 2))


def labels_tables(scores: Mapping[str, Any], task: Mapping[str, Any], settings: Mapping[str, Any]) -> list[str]:
    if task["kind"] == "regression":
        return []
    rows = []
    labels = [*task["labels"], *([NO_LABEL_WORDS] if f"sensitivity_{NO_LABEL_WORDS}" in scores else [])]
    thresholds = settings["label_thresholds"] or {}
    measured = any(f"sensitivity_at_threshold_{label}" in scores for label in labels)
    for label in labels:
        names = ["auc", "average_precision", "sensitivity", "specificity"]
        names += ["sensitivity_at_threshold", "specificity_at_threshold"] if measured else []
        cells = [cell(name, scores[f"{name}_{label}"], "") if f"{name}_{label}" in scores else ("", "")
                 for name in names]  # fmt: skip
        row = [esc(none_of(task["labels"]) if label == NO_LABEL_WORDS else label)]
        row += [f'{esc(value)}<br><small class="soft">{esc(interval)}</small>' for value, interval in cells]
        if thresholds:
            chosen = thresholds.get(label)
            row.append("" if chosen is None else f"{chosen:.3f}")
        rows.append(row)
    head = ["label", "area under ROC", "average precision", "sensitivity", "specificity"]
    head += ["sensitivity at its threshold", "specificity at its threshold"] if measured else []
    head += ["threshold"] if thresholds else []
    text = ["<h2>Each label</h2>", table(head, rows, range(1, len(head)))]
    if measured:
        text.append(
            '<p class="note">At its threshold: the label against the rest, whichever label is most probable; chosen on '
            f"{esc(settings['chosen_on'])}.</p>"
        )
    return text
