"""The tables of scores: what they count, and that they fit on the page."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from medattn_core.bundles.trust import Undecided
from medattn_core.evaluation import page, page_scores
from medattn_core.evaluation.decisions import Rule, choose
from medattn_core.evaluation.evaluating import _chosen
from medattn_core.evaluation.measure import Stated, measured
from medattn_core.tasks import TaskSpec

EACH = TaskSpec(name="t", kind="multilabel", activation="sigmoid", labels=("a", "b"), spatial_dims=2, spacing=(1, 1))
RULE = Undecided(present_from=0.4, absent_to=0.6)


def ruled(rules: dict[str, Undecided] | None) -> dict[str, Any]:
    """Eight cases: ``a`` is right or, once, left open; ``b`` is there in half of them and never said."""
    outputs = np.array([[3.0, -1.0]] * 4 + [[-3.0, -1.0]] * 3 + [[0.0, -1.0]])
    targets = np.array([[1.0, 1.0]] * 4 + [[0.0, 0.0]] * 4)
    found = measured(outputs, targets, [Stated(undecided=rules)] * 8, ["p"] * 8, EACH, samples=0)
    about = {"kind": EACH.kind, "labels": list(EACH.labels), "unit": ""}
    return {**found, "cases": 8, "task": about, "localisation": {}}


def test_a_label_without_a_rule_is_not_passed_over() -> None:
    """What is measured of ``a`` alone says so, and that ``b`` is always decided, and how often rightly."""
    metrics = ruled({"a": RULE})
    assert metrics["labels_with_a_rule"] == ["a"]
    text = page._short(metrics, metrics["classification"])
    assert text.endswith(
        " Of the answers about a (one per case), 12.5 % are left undecided; of the others, 100.0 % are right. b has no "
        "rule for leaving an answer open: 50.0 % of its answers are right."
    )
    rows = page_scores.scores_table(metrics["classification"], metrics["task"], rules=metrics["labels_with_a_rule"])
    for name in ("truth not excluded", "label present: reported or left open",
                 "label absent: not reported or left open", "not decided",
                 "right answer where decided, one per label and case"):  # fmt: skip
        assert f"<td>{name}, of a only</td>" in rows
    assert "<td>all labels right</td>" in rows
    assert page_scores.without_rule(EACH.labels, ["a"]) == (
        "Label sets, undecided answers and accuracy where decided are of a only: b has no rule for leaving an answer "
        "open, so it is always decided, and no set leaves it out."
    )


def test_where_all_labels_have_a_rule_or_none_has_nothing_is_added() -> None:
    metrics = ruled({"a": RULE, "b": RULE})
    assert metrics["labels_with_a_rule"] == ["a", "b"]
    assert "Of all answers (one per label and case)," in page._short(metrics, metrics["classification"])
    rows = page_scores.scores_table(metrics["classification"], metrics["task"], rules=metrics["labels_with_a_rule"])
    assert "<td>not decided</td>" in rows
    assert page_scores.without_rule(EACH.labels, ["a", "b"]) == ""
    assert "labels_with_a_rule" not in ruled(None)


def test_many_labels_with_a_rule_are_counted() -> None:
    labels = [f"l{i}" for i in range(9)]
    assert page_scores.some_of(labels, labels[:2]) == "l0 and l1 only"
    assert page_scores.some_of(labels, labels[:5]) == "the 5 labels with a rule only"
    text = page_scores.without_rule(labels, labels[:5])
    assert "of the 5 labels with a rule only: l5, l6, l7 and l8 have no rule" in text
    assert "so they are always decided, and no set leaves them out." in text


def columns(tables: list[str]) -> list[list[str]]:
    """Heads of each table."""
    return [re.findall(r"<th(?: [^>]*)?>(.*?)</th>", one) for one in tables if "<table" in one]


def test_two_labels_do_not_say_the_same_twice() -> None:
    """Of a softmax the chosen threshold decides: at it the numbers are those of the decision. One label's sensitivity
    is the other's specificity, which is all that its own threshold would say."""
    task = TaskSpec(name="t", labels=("a", "b"), spatial_dims=2, spacing=(1, 1))
    rng = np.random.default_rng(0)
    targets = np.eye(2)[np.arange(30) % 2]
    outputs = targets + rng.normal(size=(30, 2))
    rule = choose(task.probabilities(outputs), targets, task)
    found = measured(outputs, targets, [Stated()] * 30, list("p" * 30), task, rule=rule, samples=0)["classification"]
    about = {"kind": "multiclass", "labels": ["a", "b"], "unit": ""}
    text = page_scores.labels_tables(found, about, {**_chosen(rule, task), "chosen_on": "val.csv"})
    assert "sensitivity_at_threshold_b" in found
    assert columns(text) == [["label", "area under ROC", "average precision", "sensitivity", "specificity"]]
    assert not any("At its threshold" in one for one in text)


def test_thresholds_of_labels_have_a_table_of_their_own_where_they_do_not_decide() -> None:
    task = TaskSpec(name="t", labels=("a", "b", "c", "d<"), spatial_dims=2, spacing=(1, 1))
    targets = np.eye(4)[np.arange(40) % 4]
    outputs = targets + np.random.default_rng(0).normal(size=(40, 4))
    rule = choose(task.probabilities(outputs), targets, task)
    found = measured(outputs, targets, [Stated()] * 40, list("p" * 40), task, rule=rule, samples=0)["classification"]
    about = {"kind": "multiclass", "labels": list(task.labels), "unit": ""}
    text = page_scores.labels_tables(found, about, {**_chosen(rule, task), "chosen_on": "val.csv"})
    assert columns(text) == [
        ["label", "area under ROC", "average precision", "sensitivity", "specificity"],
        ["label", "threshold", "sensitivity", "specificity"],
    ]
    assert "<td>d&lt;</td>" in text[-2]
    assert f'<td class="n">{rule.each[0]:.3f}</td>' in text[-2]  # type: ignore[index]
    assert "the label against the rest" in text[-1]


@pytest.mark.parametrize("threshold", [0.25, None])
def test_a_threshold_that_decides_stands_beside_its_label(threshold: float | None) -> None:
    metrics, rule = ruled(None), Rule(each=(threshold, 0.5))
    settings = {**_chosen(rule, EACH), "chosen_on": "val.csv"}
    (_, table) = page_scores.labels_tables(metrics["classification"], metrics["task"], settings)
    assert columns([table])[0][:2] == ["label", "threshold"]
    assert f'<td>a</td><td class="n">{"" if threshold is None else "0.250"}</td>' in table


def test_the_bins_of_the_calibration_error_are_said() -> None:
    """The curve beside it has others."""
    assert "over 15 bins of equal width (the curves are drawn in tenths)" in page.OF_CALIBRATION
