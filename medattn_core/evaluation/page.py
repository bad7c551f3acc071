"""The scores on one page, for somebody who reads scans rather than metrics."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from medattn_core.bundles import Bundle
from medattn_core.datalists.case import NO_LABEL
from medattn_core.evaluation import page_maps
from medattn_core.evaluation.examples import Example
from medattn_core.evaluation.page_maps import share
from medattn_core.evaluation.page_scores import each, labels_tables, listed, scores_table, without_rule
from medattn_core.metrics.calibration import BINS
from medattn_core.outputs.files import without_folders
from medattn_core.outputs.page import banner, document, esc, facts, image
from medattn_core.outputs.text import number, pretty

OF_CALIBRATION = (
    f"Calibration errors are computed over {BINS} bins of equal width (the curves are drawn in tenths) and have no "
    "interval; with few cases they are too large by chance."
)


def summary_page(
    metrics: Mapping[str, Any], pictures: Mapping[str, Path], examples: Sequence[Example], bundle: Bundle
) -> str:
    """HTML of ``summary.html``; the pictures are inlined."""
    task = metrics["task"]
    regression = task["kind"] == "regression"
    scores = metrics["regression" if regression else "classification"]
    rules = metrics.get("labels_with_a_rule")
    body = [
        '<p class="kind">Evaluation</p>',
        f"<h1>{esc(bundle.name)} {esc(bundle.version)} on {esc(metrics['data'])}</h1>",
        f'<p class="soft">{esc(bundle.description)}</p>',
    ]
    for kind, title, bad in (
        ("errors", "Not predicted and not counted", True),
        ("place_errors", "Mask or box not used, the case counts in all other scores", False),
    ):
        if metrics[kind]:
            body.append(_banner(f"{title}: {_count(len(metrics[kind]), 'case')}", metrics[kind], bad=bad))
    if metrics["map_errors"]:
        body.append(_banner(_not_compared(metrics["map_errors"]), metrics["map_errors"]))
    body += [*_of_validation(metrics["validation"]), *_warned(metrics)]
    body += ["<h2>In short</h2>", f"<p>{_short(metrics, scores)}</p>"]
    body += ["<h2>Scores</h2>", scores_table(scores, task, _without_label(metrics), rules)]
    decided = "" if regression else f" {OF_CALIBRATION} {_threshold(metrics)}"
    body.append(f'<p class="note">{_intervals(metrics)}{decided}</p>')
    if passed_over := without_rule(task["labels"], rules):
        body.append(f'<p class="note">{esc(passed_over)}</p>')
    curves = ("confusion", "reliability", "reliability_confidence", "roc", "precision_recall", "scatter")
    body.append(_figures(pictures, curves, task))
    body += labels_tables(scores, task, metrics["settings"])
    body += _examples(examples, task)
    body += page_maps.place(metrics["localisation"], metrics["settings"], len(metrics["place_errors"]), regression)
    body.append(_figures(pictures, ("froc",), task))
    body += page_maps.faith(metrics["fidelity"], regression, task["unit"])
    body.append(_figures(pictures, ("deletion", "insertion"), task))
    members = metrics["members"]
    body += [
        "<h2>What was measured</h2>",
        facts(
            [
                ("Model", f"{esc(bundle.name)} {esc(bundle.version)}, {_count(members, 'network')}"),
                ("Weights", f"<code>{esc(metrics['weights_sha256'][:16])}</code>"),
                ("Cases", _cases(metrics)),
                *_chosen_on(metrics["validation"]),
                ("Seed", str(metrics["settings"]["seed"])),
            ]
        ),
        '<p class="note">The figures hold for cases like these. If the model was trained on any of them, the figures '
        f"are too good{_of_folds(members)}. All numbers: <code>metrics.json</code>; case by case: "
        "<code>cases.csv</code>.</p>",
    ]
    return document(f"{bundle.name}: evaluation", body)


def _of_folds(members: int) -> str:
    return "; the networks of <code>--folds</code> together have seen every case of their list" if members > 1 else ""


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _banner(title: str, entries: Sequence[Mapping[str, Any]], *, bad: bool = False) -> str:
    said = [(entry["code"], without_folders(entry["message"], (entry.get("input"),))) for entry in entries[:10]]
    return banner(title, said, bad=bad)


def _warned(metrics: Mapping[str, Any]) -> list[str]:
    """One line a code: a table of hundreds of cases is not read to its end."""
    count = _count(metrics["cases"], "case")
    said = [
        (code, f"{some} of {count}: {metrics['warning_messages'][code]}") for code, some in metrics["warnings"].items()
    ]
    title = "Warnings: these cases count in all numbers; each message is that of the first case"
    return [banner(title, said)] if said else []


def _not_compared(entries: Sequence[Mapping[str, Any]]) -> str:
    """How many cases only where each entry is of one: one of several may be of a method, on all of them."""
    text = "Maps not compared, or not with every method and model"
    if any("cases" in entry for entry in entries):
        return f"{text}; the cases count in all other scores"
    return f"{text}; the case counts in all other scores: {_count(len({entry['input'] for entry in entries}), 'case')}"


def _of_validation(found: Mapping[str, Any] | None) -> list[str]:
    """What is to be known of the list that thresholds were chosen on."""
    if found is None:
        return []
    text, name = [], found["data"]
    if not found["chosen"]:
        few = _count(found["cases"], "case")
        text.append(
            banner(
                f"No threshold was chosen: {few} of {name} could be predicted, {found['fewest_cases']} are needed", []
            )
        )
    if found["errors"]:
        title = f"In {name}, not predicted: {_count(len(found['errors']), 'case')}"
        text.append(_banner(title, found["errors"]))
    if found["place_errors"]:
        title = f"In {name}, mask or box not used: {_count(len(found['place_errors']), 'case')}"
        text.append(_banner(title, found["place_errors"]))
    if found["map_errors"]:
        title = f"In {name}, maps of other methods not measured: {_count(len(found['map_errors']), 'case')}"
        text.append(_banner(title, found["map_errors"]))
    return text


def _chosen_on(found: Mapping[str, Any] | None) -> list[tuple[str, str]]:
    if found is None:
        return []
    what = "chosen on" if found["chosen"] else "not chosen; predicted:"
    text = f"{what} {_count(found['cases'], 'image')} of {_count(found['patients'], 'patient')} of {found['data']}"
    failed = len(found["errors"])
    return [("Thresholds", esc(text + (f"; {failed} more could not be predicted" if failed else "")))]


def _intervals(metrics: Mapping[str, Any]) -> str:
    found, samples = metrics["intervals"], metrics["settings"]["bootstrap"]
    if samples <= 0:
        return "No intervals were requested."
    if not found["given"]:
        return (
            f"No intervals: {_count(found['patients'], 'patient')} {'is' if found['patients'] == 1 else 'are'} too few "
            f"to estimate the spread; {found['fewest_patients']} are needed."
        )
    return (
        f"Intervals: 95 %, by bootstrap over {found['patients']} patients ({samples} samples); Wilson intervals where "
        f"the bootstrap has no spread or a share rests on fewer than {found['fewest_patients']} patients; none where "
        "neither applies, or where one side of a comparison has fewer patients than that."
    )


def _short(metrics: Mapping[str, Any], scores: Mapping[str, Any]) -> str:
    count, labels = metrics["cases"], metrics["task"]["labels"]
    if metrics["task"]["kind"] == "regression":
        unit = f" {pretty(metrics['task']['unit'])}" if metrics["task"]["unit"] else ""
        mae, mean = scores["mae"], scores["mae_of_the_mean"]["value"]
        return esc(
            f"Over {_count(count, 'case')} the predicted {labels[0]} was off by {number(mae['value'])}{unit} on average"
            f"{_between(mae, number)}; always predicting the mean would be off by {number(mean)}{unit}."
        )
    accuracy = scores["accuracy"]
    right = round(accuracy["value"] * count)
    several = metrics["task"]["kind"] == "multilabel" and len(labels) > 1
    what = "had all labels right" if several else "were labelled correctly" if count != 1 else "was labelled correctly"
    text = f"{right} of {_count(count, 'case')} {what}: {share(accuracy['value'])}{_between(accuracy, share)}."
    decided = scores.get("accuracy_when_decided")
    if decided is not None and decided["value"] is not None and scores["abstained"]["value"]:
        left, sure = share(scores["abstained"]["value"]), share(decided["value"])
        without = _without_label(metrics)
        if without:
            text += (
                f" Of the {_count(count - without, 'case')} with a label, {left} are left undecided; of the others, "
            )
            text += f"{sure} are right."
        elif several and without_rule(labels, metrics["labels_with_a_rule"]):
            text += _of_rules(metrics, left, sure)
        elif several:
            text += (
                f" Of all answers (one per label and case), {left} are left undecided; of the others, {sure} are right."
            )
        else:
            text += f" In {left} of the cases the model is not sure enough to decide; of the others, {sure} are right."
    place = metrics["localisation"].get("evidence")
    if place:
        text += (
            f" The strongest evidence lay inside the marked finding in {share(place['pointing'])} of "
            f"{_count(place['cases'], 'case')} with a marked finding."
        )
    return esc(text)


def _of_rules(metrics: Mapping[str, Any], left: str, sure: str) -> str:
    """What is left open and right of the labels that have a rule, and what is right of the others."""
    labels, rules = metrics["task"]["labels"], metrics["labels_with_a_rule"]
    others = [label for label in labels if label not in rules]
    found = [metrics["confusion_by_label"][label] for label in others]
    right = sum(one["true_positive"] + one["true_negative"] for one in found)
    own = share(right / sum(sum(one.values()) for one in found))
    have, their = ("has", "its") if len(others) == 1 else ("have", "their")
    return (
        f" Of the answers about {listed(rules)} (one per {'case' if len(rules) == 1 else 'label and case'}), {left} "
        f"are left undecided; of the others, {sure} are right. {listed(others)} {have} no rule for leaving an answer "
        f"open: {own} of {their} answers are right."
    )


def _without_label(metrics: Mapping[str, Any]) -> int:
    """Cases that show none of the labels, where one label is said: label sets and abstaining are not about them."""
    if each(metrics["task"]) or NO_LABEL not in metrics.get("confusion_labels", ()):
        return 0
    return int(sum(metrics["confusion_matrix"][metrics["confusion_labels"].index(NO_LABEL)]))


def _between(score: Mapping[str, float], form: Callable[[float], str]) -> str:
    if score.get("low") is None:
        return ""
    return f" (between {form(score['low'])} and {form(score['high'])})"


def _examples(examples: Sequence[Example], task: Mapping[str, Any]) -> list[str]:
    if not examples:
        return []
    how = "lowest and highest probability of the true answer"
    if task["kind"] == "regression":
        how = "largest and smallest error"
    elif task["kind"] == "multilabel" and len(task["labels"]) > 1:
        how += (
            ", averaged over the labels; the label shown is the one whose probability is furthest from the truth, in "
        )
        how += "the best cases the most probable one"
    text = ["<h2>Worst and best cases</h2>"]
    for kind in ("worst", "best"):
        cells = [
            f"<figure>{image(one.path.read_bytes(), f'Case {one.case}: {one.words}', 'chart')}"
            f"<figcaption>Case {one.case}: {esc(one.words)}</figcaption></figure>"
            for one in examples
            if one.kind == kind
        ]
        if cells:
            grid = "charts" if examples[0].wide else "planes"  # three planes need more room than one
            text.append(f'<h3>{kind.capitalize()}</h3><div class="{grid}">{"".join(cells)}</div>')
    where = "Case numbers refer to the column case in <code>cases.csv</code>."
    text.append(f'<p class="note">Chosen by the {how}. {where}</p>')
    return text


def _threshold(metrics: Mapping[str, Any]) -> str:
    settings, task = metrics["settings"], metrics["task"]
    usual = 0.5 if settings["task_threshold"] is None else settings["task_threshold"]
    chosen = settings["chosen_on"]
    if each(task):
        if chosen is None:
            return f"A label is reported from a probability of {usual:g}; if no label reaches it, none is reported."
        text = f"Each label is reported from its own threshold, chosen on {esc(chosen)}"
        if None in (settings["label_thresholds"] or {}).values():
            text += f", or from {usual:g} where the cases there do not determine one (no threshold below)"
        return text + "; if none reaches its threshold, none is reported."
    least = settings["task_threshold"] if settings["none_below"] is None else settings["none_below"]
    none = None if least is None else f"below {least:.3g}"
    if settings["decision_threshold"] is None:
        return f"The most probable label is reported{f'; none of the labels if it is {none}' if none else ''}."
    first, second = (esc(label) for label in task["labels"])
    return (
        f"{second} is reported where its share of the two probabilities is {settings['decision_threshold']:.3f} or "
        f"more, chosen on {esc(chosen)}, otherwise {first}{f'; none of the labels if both are {none}' if none else ''}"
        ". Calibration, confidence, label sets and undecided answers refer to the most probable label, which may "
        "differ from the reported one."
    )


def _cases(metrics: Mapping[str, Any]) -> str:
    fold = "" if metrics["fold"] is None else f", fold {metrics['fold']}"
    images = _count(metrics["cases"], "image")
    unnamed = metrics["without_patient"]
    if not unnamed:
        return f"{images} of {_count(metrics['patients'], 'patient')}{fold}"
    if unnamed < metrics["cases"]:
        own = "names no patient and counts" if unnamed == 1 else "name no patient, and each of them counts"
        return f"{images} of {_count(metrics['patients'], 'patient')}{fold}; {unnamed} {own} as one of its own"
    return (
        f"{images}{fold}. The list names no patients: each image counts as a patient of its own, and the "
        "intervals are too narrow if several belong to one"
    )


CAPTIONS = {
    "confusion": "True labels (rows) and reported labels (columns)",
    "reliability": "Predicted probability, in tenths, and how often it was right (number of cases)",
    "reliability_confidence": "Stated confidence, in tenths, and how often the label was right (number of cases)",
    "roc": "ROC curves",
    "precision_recall": "Precision and recall (average precision)",
    "scatter": "Predicted and true values",
    "froc": "Lesions found and false positives",
    "deletion": "Deletion: the image loses what the map shows",
    "insertion": "Insertion: the image is built up from what the map shows",
}


def _caption(name: str, task: Mapping[str, Any]) -> str:
    if name != "reliability" or not each(task):
        return CAPTIONS[name]
    number_of = "answers, one per label and case" if len(task["labels"]) > 1 else "cases"
    return f"Predicted probability of a label, in tenths, and share of cases that have it (number of {number_of})"


def _figures(pictures: Mapping[str, Path], names: tuple[str, ...], task: Mapping[str, Any]) -> str:
    shown = [name for name in names if name in pictures]
    cells = [
        f"<figure>{image(pictures[name].read_bytes(), _caption(name, task), 'chart')}"
        f"<figcaption>{esc(_caption(name, task))}</figcaption></figure>"
        for name in shown
    ]
    return f'<div class="charts">{"".join(cells)}</div>' if cells else ""
