"""`medattn train`: what its options reach, and what it says where it is stopped."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from medattn_core.bundles import load
from medattn_core.cli import app
from tests.squares import SETTINGS


def test_an_interrupted_training_says_how_it_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("medattn_core.training.train", interrupted)
    result = CliRunner().invoke(app, ["train", "--data", str(tmp_path / "x.csv"), "--output", str(tmp_path / "out")])
    assert result.exit_code == 130
    assert "continue with the same command and --resume" in result.output


def test_every_option_of_the_command_reaches_the_training(squares: Path, tmp_path: Path) -> None:
    rows = [{**row, "image": str(squares.with_name(row["image"])), "fold": int(row["fold"])}
            for row in csv.DictReader(squares.open())]  # fmt: skip
    data, config = tmp_path / "list.json", tmp_path / "settings.json"
    data.write_text(json.dumps({"training": [{"image": "gone.png", "label": "x"}], "fit": rows}))
    config.write_text(json.dumps(SETTINGS))
    options = {"--section": "fit", "--validation-fold": 1, "--epochs": 1, "--seed": 5, "--config": config,
               "--device": "cpu", "--data": data, "--output": tmp_path / "out"}  # fmt: skip
    ran = CliRunner().invoke(app, ["train", *(str(part) for pair in options.items() for part in pair)])
    assert ran.exit_code == 0, ran.stderr
    bundle = load(tmp_path / "out")
    settings = bundle.metadata["medattn"]["training"]
    assert (settings["epochs"], settings["seed"]) == (1, 5)
    assert bundle.calibration["from"] == "held-out fold 1 of the list"
    assert bundle.task.field_of_view == 64.0
