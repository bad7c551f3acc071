"""The page over all inputs says what the results say."""

from __future__ import annotations

import re
from typing import Any

import pytest

from medattn_core.errors import CODES
from medattn_core.outputs import tables
from medattn_core.outputs.overview import overview

BELOW = [{"code": "below_threshold", "message": ""}]
SOFT = ' <span class="soft">(below threshold)</span>'
LONG = "atypical teratoid/rhabdoid tumour of the posterior fossa"


def cells_of(*records: dict[str, Any]) -> list[list[str]]:
    rows = overview(records, [None] * len(records)).split("<tbody>")[1].split("</tr>")[:-1]
    return [re.findall(r"<td[^>]*>(.*?)</td>", row) for row in rows]


def result_of(record: dict[str, Any]) -> str:
    return re.sub("^<span>(.*)</span>$", r"\1", cells_of(record)[0][1])


def heads_of(page: str) -> list[str]:
    return re.findall(r"<th(?: [^>]*)?>(.*?)</th>", page)


def scan(labels: list[str], **more: Any) -> dict[str, Any]:
    """A scan whose labels are less probable one after the other."""
    probabilities = {label: 0.9 - 0.05 * place for place, label in enumerate(labels)}
    return tables.record_of({"input": "x.nii", "label": labels[0], "probabilities": probabilities, **more})


@pytest.mark.parametrize(
    ("record", "said"),
    [
        ({"present": ["a"], "undecided": None}, "a"),
        ({"present": [], "undecided": []}, "none of the labels"),
        ({"present": [], "undecided": ["a"]}, "undecided: a"),
        ({"present": ["a", "b"], "undecided": ["b"]}, "a; undecided: b"),
        ({"label": None, "value": 3.0, "present": None}, "<strong>3</strong>"),
        ({"present": ["a"], "undecided": None, "abstained": True}, "undecided: a"),
        ({"present": [], "undecided": None, "abstained": True, "warnings": BELOW}, f"undecided: a{SOFT}"),
        ({"present": [], "undecided": None, "warnings": BELOW}, "below the threshold: a"),
    ],
)
def test_the_result_is_what_is_said_not_the_most_probable_label(record: dict[str, Any], said: str) -> None:
    full = tables.record_of({"input": "x.nii", "label": "a", "probabilities": {"a": 0.4, "b": 0.1}, **record})
    assert result_of(full) == said


def test_folders_do_not_reach_the_page() -> None:
    folder = "arch/DOE^JOHN"
    error = {"code": "truncated_file", "message": f"{folder}/pet.nii.gz: cut off; see {folder}/t1.nii.gz"}
    record = tables.record_of({"input": f"{folder}/t1.nii.gz", "error": error})
    good = tables.record_of({"input": f"{folder}/t2.nii.gz", "label": "a", "probabilities": {"a": 0.4}})
    page = overview([record, good], [None, "t2_report.html"])
    assert "JOHN" not in page
    assert "pet.nii.gz: cut off; see t1.nii.gz" in page
    assert 'title="t2.nii.gz"' in page


def test_a_result_of_a_run_that_knew_less() -> None:
    """Of an unfinished batch of an older version."""
    full = tables.record_of({"input": "x.nii", "label": "a", "probabilities": {"a": 0.4}})
    older = {key: value for key, value in full.items() if key not in {"present", "undecided"}}
    assert result_of(older) == "a"


def test_what_is_said_and_what_is_to_be_known_come_first() -> None:
    """Whatever the labels: on paper and small screens the last columns are lost first."""
    for labels in (["a"], ["a", "b", "c"], [f"l{k}" for k in range(14)], [LONG, f"{LONG} 2", f"{LONG} 3"]):
        page = overview([scan(labels)], [None])
        assert heads_of(page)[:3] == ["Input", "Result", "Notes"]
        # Without columns the cells say of themselves what they are.
        assert re.findall(r'<td[^>]* data-head="(.*?)"', page) == heads_of(page)
    assert heads_of(overview([scan(["a", "b", "c"])], [None]))[3:] == ["a", "b", "c"]


@pytest.mark.parametrize("labels", [[f"l{k}" for k in range(14)], [f"{LONG} {k}" for k in range(4)]])
def test_many_or_long_labels_share_a_cell(labels: list[str]) -> None:
    assert heads_of(overview([scan(labels)], [None]))[3:] == ["Most probable"]
    said, *_ = cells_of(scan(labels, present=[labels[0], labels[-1]]))
    shown = re.findall("<li><span>(.*?)</span>", said[3])
    assert shown[0] == labels[0]
    assert shown[-1] == labels[-1]  # said, so shown, however many are more probable
    assert shown == [labels[0], labels[1], labels[2], labels[-1]]
    assert (f"{len(labels) - 4} less probable" in said[3]) == (len(labels) > 4)
    assert len(re.findall("<li><span>", cells_of(scan(labels, present=labels))[0][3])) == len(labels)


def test_a_value_is_the_result_and_has_its_interval() -> None:
    size = {"input": "x.nii", "label": "size", "value": 3310.4, "unit": "mm3", "interval": [2900.0, 3700.0]}
    known = result_of(tables.record_of({**size, "coverage": 0.9}))
    assert "<strong>3310 mm\u00b3</strong>" in known
    assert "90 % interval: 2900 to 3700 mm\u00b3" in known
    # As results of before claims were checked state it.
    doubted = tables.record_of({**size, "coverage": 0.9, "warnings": [{"code": "unlike_training", "message": ""}]})
    assert "interval" not in result_of(doubted)
    assert heads_of(overview([doubted], [None])) == ["Input", "Result", "Notes"]


def test_one_input_is_one() -> None:
    assert "<h1>1 input</h1>" in overview([scan(["a"])], [None])
    assert "<h1>2 inputs</h1>" in overview([scan(["a"])] * 2, [None] * 2)


def test_codes_and_percentages_are_explained() -> None:
    warnings = [{"code": code, "message": ""} for code in ("cropped", "of_another_version")]
    page = overview([scan(["a", "b"], warnings=warnings), scan(["a", "b"])], [None] * 2)
    assert f"<dt>cropped</dt><dd>{CODES['cropped']}</dd>" in page.replace("&#x27;", "'")
    assert "<dt>of_another_version</dt>" not in page
    assert "need not sum to 100" in page  # 90 and 85 %
    exclusive = tables.record_of({"input": "x.nii", "label": "a", "probabilities": {"a": 0.9, "b": 0.1}})
    assert "sum to 100" not in overview([exclusive], [None])
    assert "sum to 100" not in overview([scan(["a"])], [None])
    assert "Meaning of the notes" not in overview([exclusive], [None])
