"""Whatever comes in: a checked request, or an error with code and words; never anything else."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medattn_core.worker.messages import OPTIONAL, REQUIRED, BadRequestError, Request, check, parse

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inside: st.lists(inside, max_size=3) | st.dictionaries(st.text(max_size=8), inside, max_size=3),
    max_leaves=6,
)
FIELDS = sorted({name for fields in (*REQUIRED.values(), *OPTIONAL.values()) for name in fields})


def code_of(line: bytes | None) -> str:
    with pytest.raises(BadRequestError) as caught:
        parse(line)
    assert "\n" not in caught.value.message
    return caught.value.code


@given(st.binary(max_size=200))
def test_any_bytes_are_refused_in_words(line: bytes) -> None:
    assert code_of(line) == "bad_request"


@given(
    st.fixed_dictionaries(
        {"id": st.integers() | JSON, "type": st.sampled_from(sorted(REQUIRED)) | JSON},
        optional=dict.fromkeys(FIELDS, JSON),
    )
)
def test_any_object_is_a_request_or_refused(data: dict[str, object]) -> None:
    try:
        request = check(data)
    except BadRequestError as caught:
        error = caught
        request = None
    if request is None:
        assert error.code == "bad_request"
        assert error.id is None or error.id == data["id"]
        return
    assert isinstance(request, Request)
    assert set(REQUIRED[request.type]) <= set(request.fields)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (None, "too long"),
        (b"\xff\xfe{}", "UTF-8"),
        (b"hello", "not JSON"),
        (b'{"id": 1', "not JSON"),
        (b'{"id": 1, "type": "what_if", "x": NaN}', "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[1, 2]", "list"),
        (b'{"type": "hello"}', "id is missing"),
        (b'{"id": true, "type": "hello"}', "id is missing"),
        (b'{"id": 1, "type": "fly"}', "accepted: hello, load"),
        (b'{"id": 1, "type": ["hello"]}', "type is ['hello']"),
        (b'{"id": 1, "type": "hello"}', "'protocol'"),
        (b'{"id": 1, "type": "hello", "protocol": "1"}', "a whole number"),
        (b'{"id": 1, "type": "predict", "path": "a", "lable": "x"}', "no field 'lable'"),
        (b'{"id": 1, "type": "predict", "path": ""}', "path is empty"),
        (b'{"id": 1, "type": "predict", "path": "a\\u0000b"}', "null character"),
        (b'{"id": 1, "type": "predict", "path": "a\\udcff"}', "no text"),
        (b'{"id": 1, "type": "what_if", "prediction": "p", "without": [1, true]}', "a list of region ids"),
        (b'{"id": 1, "type": "predict", "path": "a", "channels": ["b", " "]}', "channels is empty"),
    ],
)
def test_what_is_wrong_is_said(line: bytes | None, words: str) -> None:
    with pytest.raises(BadRequestError) as caught:
        parse(line)
    assert words in caught.value.message


def test_null_is_left_out() -> None:
    request = parse(json.dumps({"id": "a", "type": "predict", "path": "x", "mask": None}).encode())
    assert request == Request("a", "predict", {"path": "x"})
    assert request.get("mask", "none") == "none"


def test_the_page_names_every_field() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "worker.md").read_text(encoding="utf-8")
    page = page.partition("\n## Requests\n")[2].partition("\n## Results\n")[0]
    rows = {row.split("|")[1].strip(" `"): row.split("|")[2] for row in page.splitlines() if row.startswith("| `")}
    for kind in REQUIRED:
        for name in REQUIRED[kind]:
            assert f"`{name}`" in rows[kind], f"{kind} needs {name}"
        for name in OPTIONAL[kind]:
            mark = "" if name in ("without", "only") else "?"  # of these two exactly one is needed
            assert f"`{name}`{mark}" in rows[kind], f"{kind} takes {name}"
        named = set(re.findall(r"`([a-z_]+)`", rows[kind]))
        words = {"auto", "cpu", "cuda", "new", "add", "evidence", "regions", "mask"}  # values and other rows
        assert named - set(REQUIRED[kind]) - set(OPTIONAL[kind]) - words == set()
