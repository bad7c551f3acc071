"""Errors that several rooms give in the same words."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from medattn_core.errors import MedAttnError, TrainingError, missing_package
from medattn_core.interop.schema import check_against
from medattn_core.training.config import read_config


def test_a_missing_package_is_said_with_the_line_that_installs_it() -> None:
    brought = missing_package("training", ["one", "other"], extra="train", kind=TrainingError)
    assert isinstance(brought, TrainingError)
    assert (brought.code, brought.message) == (
        "missing_dependency", 'training needs one, other: pip install "medattn[train]"'
    )  # fmt: skip
    alone = missing_package("a file", ["one", "other"], otherwise="or leave it")
    assert alone.message == "a file needs one, other: pip install one other, or leave it"


def test_without_its_package_each_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a machine without them."""
    (tmp_path / "settings.yaml").write_text("training: {epochs: 1}")
    found = importlib.util.find_spec
    monkeypatch.setitem(sys.modules, "yaml", None)
    monkeypatch.setattr("medattn_core.interop.schema.find_spec", lambda n: None if n == "jsonschema" else found(n))
    calls: list[tuple[Callable[[], object], str]] = [
        (lambda: check_against({}, tmp_path), "schema files needs jsonschema: pip install jsonschema"),
        (lambda: read_config(tmp_path / "settings.yaml"),
         'needs PyYAML: pip install "medattn[train]", or write it as JSON'),
    ]  # fmt: skip
    for call, words in calls:
        with pytest.raises(MedAttnError) as caught:
            call()
        assert caught.value.code == "missing_dependency"
        assert words in caught.value.message
