"""The tables of scores on the page: of the whole list, and of each label."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from medattn_core.datalists.case import NO_LABEL_WORDS
from medattn_core.evaluation import page_maps
from medattn_core.evaluation.page_maps import share
from medattn_core.outputs.page import esc, table
from medattn_core.outputs.text import none_of, number, pretty

SAID = {
    "accuracy": "right label",
    "accuracy_most_probable": "most probable label right, where the case has one",
    "balanced_accuracy": "right label, each label counted equally",
    "auc": "area under the ROC curve",
    "average_precision": "average precision",
    "ece": "calibration error of the probability",
    "ece_by_label": "calibration error, mean of the labels' own",
    "ece_confidence": "calibration error of the confidence",
    "brier": "Brier score",
    "set_coverage": "truth not excluded",
    "set_coverage_present": "label present: reported or left open",
    "set_coverage_absent": "label absent: not reported or left open",
    "set_size": "labels in a set, mean",
    "abstained": "not decided",
    "accuracy_when_decided": "right label where decided",
    "mae": "mean absolute error",
    "rmse": "root mean square error",
    "mean_error": "mean error (above zero: overestimated)",
    "r2": "R2, share of the variance explained",
    "mae_of_the_mean": "mean absolute error of always predicting the mean",
    "interval_coverage": "intervals that contain the true value",
}
SAID_OF_EACH = {
    "accuracy": "all labels right",
    "balanced_accuracy": "mean of sensitivity and specificity, each label counted equally",
    "accuracy_when_decided": "right answer where decided, one per label and case",
}
"""Where several labels are judged by themselves."""

OF_SHOWN = ("ece_confidence", "set_coverage", "set_size", "abstained", "accuracy_when_decided")
"""What is measured on cases with a label only, where one label is said."""

OF_RULES = ("set_coverage", "set_coverage_present", "set_coverage_absent", "abstained", "accuracy_when_decided")
"""What is measured on labels with a rule only, where each is judged by itself."""

NAMED = 2
"""Labels with a rule up to which a row names them."""

HEADS = ("area under ROC", "average precision", "sensitivity", "specificity")

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


def scores_table(
    scores: Mapping[str, Any], task: Mapping[str, Any], without_label: int = 0, rules: Sequence[str] | None = None
) -> str:
    """The scores of the whole list.

    Args:
        scores: of metrics.json, as are the others.
        task: of the model.
        without_label: how many cases show none of the labels, where one is said.
        rules: labels that have a rule to be left open, None where that is no matter of single labels.
    """
    said = SAID | SAID_OF_EACH if each(task) and len(task["labels"]) > 1 else SAID
    if without_label:
        said = said | {name: f"{said[name]}, of cases with a label" for name in OF_SHOWN}
    if without_rule(task["labels"], rules):
        said = said | {name: f"{said[name]}, of {some_of(task['labels'], rules or ())}" for name in OF_RULES}
    rows = [[esc(said[name]), *map(esc, cell(name, scores[name], task["unit"]))] for name in SAID if name in scores]
    return table(["", "value", "interval"], rows, (1, 2))


def listed(labels: Sequence[str]) -> str:
    """Labels in a sentence."""
    return labels[0] if len(labels) == 1 else f"{', '.join(labels[:-1])} and {labels[-1]}"


def some_of(labels: Sequence[str], rules: Sequence[str]) -> str:
    """The labels with a rule, in a row of a table: by name where they are few."""
    return f"{listed(rules) if len(rules) <= NAMED else f'the {len(rules)} labels with a rule'} only"


def without_rule(labels: Sequence[str], rules: Sequence[str] | None) -> str:
    """That some labels are always decided and count in no row about what is not; empty where that is not so."""
    others = [label for label in labels if rules is not None and label not in rules]
    if rules is None or not others:
        return ""
    have, are, them = ("has", "it is", "it") if len(others) == 1 else ("have", "they are", "them")
    return (
        f"Label sets, undecided answers and accuracy where decided are of {some_of(labels, rules)}: {listed(others)} "
        f"{have} no rule for leaving an answer open, so {are} always decided, and no set leaves {them} out."
    )


def labels_tables(scores: Mapping[str, Any], task: Mapping[str, Any], settings: Mapping[str, Any]) -> list[str]:
    """The scores of each label; those at its own threshold in a second table, where another rule decides.

    Of a softmax over two labels one chosen threshold decides, and is in the words below the scores: a second table
    would say the same again.
    """
    if task["kind"] == "regression":
        return []
    labels = [*task["labels"], *([NO_LABEL_WORDS] if f"sensitivity_{NO_LABEL_WORDS}" in scores else [])]
    thresholds = settings["label_thresholds"] or {}
    measured = [label for label in labels if f"sensitivity_at_threshold_{label}" in scores]
    mirrored = settings.get("decision_threshold") is not None and NO_LABEL_WORDS not in labels
    beside = bool(thresholds) and each(task)
    names = ["auc", "average_precision", "sensitivity", "specificity"]
    head = ["label", *(["threshold"] if beside else []), *HEADS]
    rows = [
        [_name(label, task), *([_threshold(thresholds.get(label))] if beside else []), *_cells(scores, names, label)]
        for label in labels
    ]
    text = ["<h2>Each label</h2>", table(head, rows, range(1, len(head)), css="labels")]
    if measured and not mirrored:
        names = ["sensitivity_at_threshold", "specificity_at_threshold"]
        rows = [
            [_name(label, task), _threshold(thresholds.get(label)), *_cells(scores, names, label)] for label in measured
        ]
        text += [
            "<h3>Each label at its own threshold</h3>",
            table(["label", "threshold", *HEADS[2:]], rows, range(1, 4), css="labels"),
            '<p class="note">At its threshold: the label against the rest, regardless of which label is most probable; '
            f"chosen on {esc(settings['chosen_on'])}.</p>",
        ]
    return text


def _name(label: str, task: Mapping[str, Any]) -> str:
    return esc(none_of(task["labels"]) if label == NO_LABEL_WORDS else label)


def _threshold(chosen: float | None) -> str:
    return "" if chosen is None else f"{chosen:.3f}"


def _cells(scores: Mapping[str, Any], names: Sequence[str], label: str) -> list[str]:
    """Of each score its value, and the interval below it."""
    found = [cell(name, scores[f"{name}_{label}"], "") if f"{name}_{label}" in scores else ("", "") for name in names]
    return [f'{esc(value)}<br><small class="soft">{esc(interval)}</small>' for value, interval in found]
