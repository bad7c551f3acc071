"""The module file as the application would hold it, with the worker of the tests."""

from __future__ import annotations

import importlib
import sys
import time
import types
from typing import Any

from stand_ins import application, widgets
from stand_ins.desk import Desk


class Shell:
    """The module as the application would hold it."""

    def __init__(self, desk: Desk, engine: Any) -> None:
        self.app = application.install(desk)
        sys.modules.pop("MedAttn", None)
        self.file = importlib.import_module("MedAttn")
        self.parent = types.SimpleNamespace(isEntered=True)
        self.widget = self.file.MedAttnWidget(self.parent)
        original = self.file.core.MedAttnLogic

        class WithEngine(original):
            def __init__(self) -> None:
                super().__init__(engine)

        self.file.core = types.SimpleNamespace(MedAttnLogic=WithEngine)
        self.widget.setup()
        self.ui, self.panel, self.work = self.widget.ui, self.widget.panel, self.widget.logic.work

    def until(self, condition: Any, timeout_s: float = 60.0) -> None:
        """Let the window live until something holds."""
        end = time.perf_counter() + timeout_s
        while not condition():
            assert time.perf_counter() < end, "it took too long"
            widgets.application().processEvents()
            time.sleep(0.002)

    def close(self) -> None:
        """What the application does when a module's widget goes, but for the worker, which other tests use."""
        self.panel.set_parameters(None)
        self.widget.removeObservers()
        self.work.cancel()
        self.detach()

    def detach(self) -> None:
        """The selectors let go of the scene, as widgets that are deleted do."""
        for selector in (self.ui.inputSelector, self.ui.regionSelector, self.ui.whatIfSegmentation):
            selector.setMRMLScene(None)

    def apply(self) -> None:
        self.ui.applyButton.click()
        self.until(lambda: not self.work.busy)

    @property
    def parameters(self) -> Any:
        return self.panel.parameters
