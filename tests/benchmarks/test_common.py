"""The variants that benchmarks train side by side."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.common import variant_of
from medattn_core.datalists import Case


@pytest.mark.parametrize(
    ("name", "pooling", "places"),
    [("masks", "evidence", True), ("labels", "evidence", False), ("average", "average", False)],
)
def test_a_variant_changes_its_own_copy(name: str, pooling: str, places: bool) -> None:
    config = {"network": {"pooling": "evidence"}, "training": {"epochs": 3}}
    cases = [Case(image=Path("a.png"), label="a", box=(0, 0, 4, 4)), Case(image=Path("b.nii"), mask=Path("m.nii"))]
    settings, found = variant_of(name, config, cases)
    assert settings == {"network": {"pooling": pooling}, "training": {"epochs": 3}}
    assert [case.box is not None or case.mask is not None for case in found] == [places] * 2
    assert [case.label for case in found] == ["a", None]
    assert config["network"]["pooling"] == "evidence"
    assert cases[0].box is not None
