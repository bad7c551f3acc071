"""The scores on one page, for somebody who reads scans rather than metrics."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from medattn_core.bundles import Bundle
from medattn_core.evaluation.pictures import NAMES
from medattn_core.outputs.page import banner, document, esc, facts, image, table

SAID = {
    "accuracy": "right label",
    "balanced_accuracy": "right label, each label counted equally",
    "auc": "area under the ROC curve",
    "average_precision": "average precision",
    "ece": "calibration error of the probability",
    "ece_confidence": "calibration error of the confidence",
    "brier": "Brier score",
    "set_coverage": "label sets that hold the truth",
    "set_size": "labels in a set, mean",
    "abstained": "not decided",
    "accuracy_when_decided": "right label where decided",
    "mae": "mean absolute error",
    "rmse": "root mean square error",
    "mean_error": "mean error",
    "r2": "R2, explained share of the variance",
    "mae_of_the_mean": "mean absolute error of always saying the mean",
    "interval_coverage": "intervals that hold the truth",
}
SHARES = ("accuracy", "balanced_accuracy", "set_coverage", "abstained", "accuracy_when_decided", "interval_coverage")


def summary_page(metrics: Mapping[str, Any], pictures: Mapping[str, Path], bundle: Bundle) -> str:
    """HTML of ``summary.html``; the pictures are inlined."""
    task = metrics["task"]
    kind = "regression" if task["kind"] == "regression" else "classification"
    scores = metrics[kind]
    body = [
        '<p class="kind">Evaluation</p>',
        f"<h1>{esc(bundle.name)} {esc(bundle.version)} on {esc(metrics['data'])}</h1>",
        f'<p class="soft">{esc(bundle.description)}</p>',
    ]
    if metrics["errors"]:
        shown = [(e["code"], e["message"]) for e in metrics["errors"][:10]]
        count = len(metrics["errors"])
        title = f"could not be predicted and does not count: {count} case{'s' if count > 1 else ''}"
        body.append(banner(title, shown, bad=True))
    body += ["<h2>In short</h2>", f"<p>{_short(metrics, scores)}</p>"]
    body += ["<h2>Scores</h2>", _scores(scores, task)]
    body.append(
        '<p class="note">Intervals: 95 %, bootstrap over patients '
        f"({metrics['settings']['bootstrap']} samples). {_threshold(metrics['settings'])}</p>"
    )
    body.append(_figures(pictures, ("confusion", "reliability", "roc", "precision_recall", "scatter")))
    body += _labels(scores, task)
    body += _place(metrics["localisation"], metrics["settings"])
    body.append(_figures(pictures, ("froc",)))
    body += _faith(metrics["fidelity"])
    body.append(_figures(pictures, ("deletion", "insertion")))
    body += [
        "<h2>What was measured</h2>",
        facts(
            [
                ("Model", f"{esc(bundle.name)} {esc(bundle.version)}, {metrics['members']} network(s)"),
                ("Weights", f"<code>{esc(metrics['weights_sha256'][:16])}</code>"),
                ("Cases", _cases(metrics)),
                ("Seed", str(metrics["settings"]["seed"])),
            ]
        ),
        '<p class="note">The figures hold for cases like these. If the model was trained on any of them, they are too '
        "good. All numbers: <code>metrics.json</code>; case by case: <code>cases.csv</code>.</p>",
    ]
    return document(f"{bundle.name}: evaluation", body)


def _short(metrics: Mapping[str, Any], scores: Mapping[str, Any]) -> str:
    count, labels = metrics["cases"], metrics["task"]["labels"]
    if metrics["task"]["kind"] == "regression":
        unit = metrics["task"]["unit"]
        mae, mean = scores["mae"], scores["mae_of_the_mean"]["value"]
        return esc(
            f"Over {count} cases the predicted {labels[0]} was off by {mae['value']:.3g} {unit} on average"
            f"{_between(mae, '{:.3g}')}; always saying the mean would be off by {mean:.3g} {unit}."
        )
    accuracy = scores["accuracy"]
    right = round(accuracy["value"] * count)
    text = f"{right} of {count} cases got the right label: {accuracy['value']:.1%}{_between(accuracy, '{:.1%}')}."
    if "accuracy_when_decided" in scores and scores["accuracy_when_decided"]["value"] is not None:
        text += (
            f" In {scores['abstained']['value']:.1%} the model is not sure enough to decide; of the others "
            f"{scores['accuracy_when_decided']['value']:.1%} are right."
        )
    place = metrics["localisation"].get("evidence")
    if place:
        text += (
            f" The strongest evidence lay inside the marked finding in {place['pointing']:.1%} of "
            f"{place['cases']} cases whose finding is marked."
        )
    return esc(text)


def _between(score: Mapping[str, float], form: str) -> str:
    if score.get("low") is None:
        return ""
    return f" (between {form.format(score['low'])} and {form.format(score['high'])})"


def _cell(name: str, score: Mapping[str, Any], unit: str) -> tuple[str, str]:
    def one(value: float | None) -> str:
        if value is None:
            return "not measurable"
        if name in SHARES or name.startswith(("sensitivity", "specificity")):
            return f"{value:.1%}"
        return f"{value:.4g}{f' {unit}' if unit and name in ('mae', 'rmse', 'mean_error', 'mae_of_the_mean') else ''}"

    low, high = score.get("low"), score.get("high")
    return one(score["value"]), "" if low is None else f"{one(low)} to {one(high)}"


def _scores(scores: Mapping[str, Any], task: Mapping[str, Any]) -> str:
    rows = [[esc(SAID[name]), *map(esc, _cell(name, scores[name], task["unit"]))] for name in SAID if name in scores]
    return table(["", "value", "interval"], rows, (1, 2))


def _labels(scores: Mapping[str, Any], task: Mapping[str, Any]) -> list[str]:
    if task["kind"] == "regression":
        return []
    names = ("auc", "average_precision", "sensitivity", "specificity")
    rows = []
    for label in task["labels"]:
        cells = [_cell(name, scores[f"{name}_{label}"], "") for name in names]
        rows.append(
            [esc(label), *(f'{esc(value)}<br><small class="soft">{esc(interval)}</small>' for value, interval in cells)]
        )
    head = ["label", "area under ROC", "average precision", "sensitivity", "specificity"]
    return ["<h2>Each label</h2>", table(head, rows, (1, 2, 3, 4))]


def _place(place: Mapping[str, Any], settings: Mapping[str, Any]) -> list[str]:
    rows = [
        [esc(NAMES[m]), *(f"{place[m][k]:.3f}" for k in ("pointing", "energy", "iou", "auprc")), str(place[m]["cases"])]
        for m in NAMES
        if m in place
    ]
    if not rows:
        return []
    share = place["iou_threshold"]
    where = (
        f"{share:.2f} of the peak, chosen on {settings['chosen_on']}"
        if share is not None
        else "half of the peak, not chosen"
    )
    text = [
        "<h2>Does the map lie on the finding?</h2>",
        table(
            ["map", "peak inside", "share inside", "overlap (IoU)", "voxel AUPRC", "cases"],
            rows,
            (1, 2, 3, 4, 5),
            first=0,
        ),
        '<p class="note">Peak inside: the strongest voxel lies in the marked finding. Share inside: of the positive '
        f"map. Overlap: of the map above {esc(where)}. Other methods explain the same network.</p>",
    ]
    if "froc" in place:
        text.append(
            f"<p>{place['froc']['lesions']} single lesions: {place['froc']['score']:.1%} found on average at 1/4 to 8 "
            "false positives a scan.</p>"
        )
    return text


def _faith(faith: Mapping[str, Any]) -> list[str]:
    rows = []
    for m in NAMES:
        if m in faith:
            more = faith[m].get("evidence_drops_more")
            rows.append(
                [esc(NAMES[m]), f"{faith[m]['drop_at_0.1']:.3f}", "" if more is None else f"{more:.0%}",
                 f"{faith[m]['deletion_area']:.3f}", f"{faith[m]['insertion_area']:.3f}", str(faith[m]["cases"])]
            )  # fmt: skip
    if not rows:
        return []
    text = [
        "<h2>Does the map show what the model uses?</h2>",
        table(
            ["map", "loss without its top 10 %", "evidence loses more", "area, deletion", "area, insertion", "cases"],
            rows, (1, 2, 3, 4, 5), first=0,
        ),
        '<p class="note">Places are deleted from the image itself (blurred) in the order of each map. Deletion: low is '
        "good. Insertion: high is good.</p>",
    ]  # fmt: skip
    if "weight_randomisation" in faith:
        rho = faith["weight_randomisation"]["rank_correlation"]
        text.append(f"<p>A network with random weights gives another map: rank correlation {rho:.2f} (0 is none).</p>")
    if "repeatability" in faith:
        rho = faith["repeatability"]["rank_correlation"]
        text.append(
            f"<p>Trained again with another seed, the maps agree with rank correlation {rho:.2f} (1 is full).</p>"
        )
    return text


def _threshold(settings: Mapping[str, Any]) -> str:
    value = settings["decision_threshold"]
    if value is not None:
        return f"The label is decided at {value:.3f}, chosen on {esc(settings['chosen_on'])}."
    return "The most probable label is said; of one label alone, from a probability of 0.5."


def _cases(metrics: Mapping[str, Any]) -> str:
    fold = "" if metrics["fold"] is None else f", fold {metrics['fold']}"
    if metrics["patients_named"]:
        return f"{metrics['cases']} of {metrics['patients']} patients{fold}"
    return (
        f"{metrics['cases']}{fold}. The list names no patients: each image counts as a patient of its own, and the "
        "intervals are too narrow if several belong to one"
    )


CAPTIONS = {
    "confusion": "Which label was said for which",
    "reliability": "Given probability and how often it was right",
    "roc": "ROC curves",
    "precision_recall": "Precision and recall (average precision)",
    "scatter": "Predicted and true",
    "froc": "Lesions found and false positives",
    "deletion": "The image loses what the map shows",
    "insertion": "The image is built up from what the map shows",
}


def _figures(pictures: Mapping[str, Path], names: tuple[str, ...]) -> str:
    shown = [name for name in names if name in pictures]
    cells = [
        f"<figure>{image(pictures[name].read_bytes(), CAPTIONS[name], 'chart')}"
        f"<figcaption>{esc(CAPTIONS[name])}</figcaption></figure>"
        for name in shown
    ]
    return f'<div class="charts">{"".join(cells)}</div>' if cells else ""
