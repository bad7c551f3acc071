"""What an evaluation is asked for: wrong values are refused, and one name or path is a list of one."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medattn_core.errors import MedAttnError
from medattn_core.evaluation import Settings, evaluate


@pytest.mark.parametrize(("given", "said"), [
    ({"compared_cases": -1}, "compared_cases=-1; accepted: 0 or more"),
    ({"examples": -1}, "examples=-1; accepted: 0 or more"),
    ({"bootstrap": -5}, "bootstrap=-5; accepted: 0 or more"),
    ({"examples": "x"}, "examples='x'; a whole number is needed; accepted: 0 or more"),
    ({"bootstrap": 2.5}, "bootstrap=2.5; a whole number is needed"),
    ({"compared_cases": None}, "compared_cases=None; a whole number is needed"),
    ({"seed": True}, "seed=True; a whole number is needed; accepted: 0 to 4294967295"),
    ({"compare": 3}, "compare=3; a list of names is needed"),
    ({"compare": ("gradcam", 3)}, "compare: 3 is no name; a list of names is needed"),
])  # fmt: skip
def test_every_field_is_looked_at(given: dict[str, Any], said: str) -> None:
    with pytest.raises(MedAttnError) as caught:
        Settings(**given)
    assert caught.value.code == "bad_argument"
    assert caught.value.message.startswith(said)


def test_whole_numbers_of_numpy_and_a_single_name() -> None:
    found = Settings(compare="gradcam", seed=np.int64(0), examples=2.0, bootstrap=np.int32(5))  # type: ignore[arg-type]
    assert found == Settings(compare=("gradcam",), seed=0, examples=2, bootstrap=5)
    json.dumps(asdict(found))
    assert Settings(compare=["gradcam", "occlusion"]).compare == ("gradcam", "occlusion")  # type: ignore[arg-type]
    assert Settings(compare=()).compare == ()


def test_one_bundle_to_repeat_with_is_a_list_of_one(trained: tuple[Path, Path], tmp_path: Path) -> None:
    """Letter by letter, "m" would be a bundle and "/" a folder."""
    settings = Settings(compare=(), compared_cases=0, bootstrap=0, examples=0)
    for repeat in (str(tmp_path / "nothing"), tmp_path / "nothing"):
        with pytest.raises(MedAttnError, match=f"bundle '{tmp_path}/nothing': no shipped bundle"):
            evaluate(*trained, tmp_path / "out", repeat=repeat, settings=settings, device="cpu")
    with pytest.raises(MedAttnError, match="repeat: 5 is no path") as caught:
        evaluate(*trained, tmp_path / "out", repeat=(5,), settings=settings, device="cpu")  # type: ignore[arg-type]
    assert caught.value.code == "bad_argument"


@pytest.mark.parametrize("fold", ["0", 0.5, False, -1])
def test_a_fold_is_a_whole_number(fold: Any, tmp_path: Path) -> None:
    with pytest.raises(MedAttnError, match=f"fold={fold!r};.* accepted: 0 or more") as caught:
        evaluate(tmp_path / "none", tmp_path / "none.csv", tmp_path, fold=fold)
    assert caught.value.code == "bad_argument"
