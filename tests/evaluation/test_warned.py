"""Warnings of the cases: one line a code, on the page, on the command line and in metrics.json."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from typer.testing import CliRunner

from medattn_core.cli import app
from medattn_core.datalists import Case
from medattn_core.errors import Notice
from medattn_core.evaluation.warned import Warned
from tests.squares import write_list


def test_each_code_is_one_line_of_the_cases_that_have_it() -> None:
    """A code that a case has twice, of two axes, is one case; the most frequent is first; no path and no name."""
    warned = Warned()
    for index, codes in enumerate([["turned"], ["unlike_training", "cropped", "cropped"], ["cropped"], []]):
        case = Case(image=Path(f"/a/DOE_JANE/scan{index}.png"))
        source = str(case.image) if index % 2 else case.image.name
        warned.add(case, [Notice(code, f"{source}: {code} {index}, see {case.image}") for code in codes])
    assert list(warned.counts.items()) == [("cropped", 2), ("turned", 1), ("unlike_training", 1)]
    assert warned.messages["cropped"] == "cropped 1, see scan1.png"
    assert warned.messages["turned"] == "turned 0, see scan0.png"
    assert list(warned.messages) == list(warned.counts)


def test_warnings_are_on_the_page_and_on_the_command_line(trained: tuple[Path, Path], tmp_path: Path) -> None:
    """One strange picture among three, all of them without pixel size."""
    folder = tmp_path / "DOE_JANE"
    folder.mkdir()
    sitk.WriteImage(sitk.GetImageFromArray(np.eye(300, dtype=np.uint8) * 255), str(folder / "scan.png"))
    rows = [{"image": str(trained[1].parent / f"{i}.png"), "label": "bright" if i % 2 else "dark"} for i in range(2)]
    data = write_list(tmp_path / "list.csv", [*rows, {"image": str(folder / "scan.png"), "label": "dark"}])
    arguments = ["--output", str(tmp_path / "out"), "--compared-cases", "0", "--bootstrap", "0", "--device", "cpu"]
    ran = CliRunner().invoke(app, ["evaluate", str(trained[0]), "--data", str(data), *arguments])
    assert ran.exit_code == 0, ran.stderr
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert metrics["warnings"]["unknown_spacing"] == 3
    assert metrics["warnings"]["unlike_training"] == 1
    assert next(iter(metrics["warnings"])) == "unknown_spacing"
    page = (tmp_path / "out" / "summary.html").read_text()
    assert page.count("<code>unknown_spacing</code>") == 1
    assert "<li>3 of 3 cases: no pixel size" in page
    assert "<li>1 of 3 cases: the scan is unlike those the model was trained on" in page
    assert ran.stderr.count("warning [unknown_spacing] 3 of 3 cases: no pixel size") == 1
    assert ran.stderr.count("warning [unlike_training] 1 of 3 cases: ") == 1
    assert "DOE_JANE" not in page
    assert "DOE_JANE" not in ran.stderr
    assert "DOE_JANE" not in json.dumps(metrics)
