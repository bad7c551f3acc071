"""An empty ``--output``, as an unset variable leaves it, is not the current folder; `predict`: test_predict.py."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from medattn_core.cli import app


@pytest.mark.parametrize("output", ["", " "])
@pytest.mark.parametrize(
    "command",
    [
        ["evaluate", "brain_tumor_t1ce", "--data", "list.csv"],
        ["train", "--data", "list.csv"],
        ["bundle", "export", "brain_tumor_t1ce"],
    ],
    ids=lambda command: command[0],
)
def test_an_empty_output_is_refused(
    command: list[str], output: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    answer = CliRunner().invoke(app, [*command, "--output", output])
    assert answer.exit_code == 2
    assert "error [bad_argument] --output is empty; perhaps a shell variable is not set" in answer.stderr
    assert not list(tmp_path.iterdir())
