"""The page over all inputs says what the results say."""

from __future__ import annotations

import re
from typing import Any

import pytest

from medattn_core.outputs import tables
from medattn_core.outputs.overview import overview

BELOW = [{"code": "below_threshold", "message": ""}]
SOFT = ' <span class="soft">(below threshold)</span>'


@pytest.mark.parametrize(
    ("record", "said"),
    [
        ({"present": ["a"], "undecided": None}, "a"),
        ({"present": [], "undecided": []}, "none"),
        ({"present": [], "undecided": ["a"]}, "undecided: a"),
        ({"present": ["a", "b"], "undecided": ["b"]}, "a; undecided: b"),
        ({"label": None, "value": 3.0, "present": None}, ""),
        ({"present": ["a"], "undecided": None, "abstained": True}, "undecided: a"),
        ({"present": [], "undecided": None, "abstained": True, "warnings": BELOW}, f"undecided: a{SOFT}"),
        ({"present": [], "undecided": None, "warnings": BELOW}, f"a{SOFT}"),
    ],
)
def test_the_result_is_what_is_said_not_the_most_probable_label(record: dict[str, Any], said: str) -> None:
    full = tables.record_of({"input": "x.nii", "label": "a", "probabilities": {"a": 0.4, "b": 0.1}, **record})
    cells = re.findall(r"<td[^>]*>(.*?)</td>", overview([full], [None]))
    assert cells[-2] == said


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
    assert re.findall(r"<td[^>]*>(.*?)</td>", overview([older], [None]))[-2] == "a"
