"""The module as the application holds it: entered and left, set up and reloaded."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from stand_ins.desk import Desk
from test_panel import Shell


@pytest.fixture
def shell(desk: Desk, engine: Any) -> Iterator[Shell]:
    made = Shell(desk, engine)
    yield made
    made.close()


def test_entries_leave_nothing_behind(shell: Shell) -> None:
    """One object a node, one connection at a time, and no observer more than before."""
    shell.widget.enter()
    first, node = shell.parameters, shell.widget.logic.getParameterNode()
    before = str(node).count("vtkCommand")
    calls: list[Any] = []
    for _ in range(4):
        shell.widget.exit()
        assert first._gui == {}
        shell.widget.enter()
        shell.widget.enter()
        assert shell.parameters is first
        assert len(first._gui) == 1
    assert str(node).count("vtkCommand") == before
    tag = node.AddObserver("ModifiedEvent", lambda *_: calls.append(None))
    shell.ui.exportName.text = "case8"
    assert (first.export_name, len(calls)) == ("case8", 1)
    node.RemoveObserver(tag)
    first.export_name = "case9"
    assert shell.ui.exportName.text == "case9"
