"""What `medattn train` says where it is stopped."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from medattn_core.cli import app


def test_an_interrupted_training_says_how_it_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("medattn_core.training.train", interrupted)
    result = CliRunner().invoke(app, ["train", "--data", str(tmp_path / "x.csv"), "--output", str(tmp_path / "out")])
    assert result.exit_code == 130
    assert "the same command with --resume continues it" in result.output
