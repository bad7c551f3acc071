"""Install what a plan says, after asking.

The execution goes through :class:`Doors`, which :func:`slicer_doors` fills with the calls of 3D Slicer. What must never
happen, torch, SimpleITK or numpy replaced, is kept from happening by pip itself: their installed versions are
constraints of every call, so that pip fails rather than exchange them. A torch that has just been installed is one of
them for the calls that follow.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from MedAttnLib.install_plan import (
    TORCH,
    WHEELS_VARIABLE,
    Plan,
    constraints_of,
    current_plan,
    installed_versions,
    make_plan,
    torch_is_met,
)
from MedAttnLib.texts import _

__all__ = ["Doors", "InstallationError", "Plan", "current_plan", "install", "known_plan", "make_plan", "slicer_doors"]

_complete: Plan | None = None
"""The plan that found everything in its place."""


class InstallationError(Exception):
    """Something could not be installed; the message is for the user."""


@dataclass(frozen=True)
class Doors:
    """The calls that change something, or ask.

    Attributes:
        ask: shows a text; True to go on.
        install_torch: given a version requirement such as ``">=2.6"``; False where the user declined.
        pip_install: given arguments of ``pip install``; raises where pip fails.
        versions: version by distribution name, as it is now.
    """

    ask: Callable[[str], bool]
    install_torch: Callable[[str], bool]
    pip_install: Callable[[list[str]], None]
    versions: Callable[[], Mapping[str, str | None]] = installed_versions


def known_plan() -> Plan:
    """The current plan, which is made anew only as long as something is missing.

    Making it reads the metadata of packages; the panel asks at each entry and at each Apply.
    """
    global _complete
    if _complete is not None:
        return _complete
    plan = current_plan()
    if not plan.needed:
        _complete = plan
    return plan


def install(plan: Plan, doors: Doors) -> bool:
    """Do what a plan says, after asking.

    Returns:
        False where the user declined; nothing has been changed then.

    Raises:
        InstallationError: a problem of the plan, or a step that failed.
    """
    if plan.problems:
        raise InstallationError(" ".join(plan.problems))
    if not plan.needed:
        return True
    if not doors.ask(plan.text()):
        return False
    global _complete
    _complete = None
    with pip_environment(plan) as constrain:
        if plan.torch is not None:
            if not _step(doors.install_torch, plan.torch.removeprefix("torch"), "PyTorch"):
                return False
            now = doors.versions()
            if not torch_is_met(now):
                raise InstallationError(
                    _("The PyTorch extension has not installed {needed}; see its module.").format(needed=TORCH)
                )
            constrain(constraints_of(now))
        if plan.packages:
            _step(doors.pip_install, ["--prefer-binary", *plan.packages], ", ".join(plan.packages))
        if plan.wheel is not None:
            # Without its dependencies: they are met by now, and pip has no reason to look at torch and SimpleITK.
            _step(doors.pip_install, ["--no-deps", "--upgrade", str(plan.wheel)], plan.wheel.name)
    importlib.invalidate_caches()
    return True


@contextlib.contextmanager
def pip_environment(plan: Plan) -> Iterator[Callable[[tuple[str, ...]], None]]:
    """Settings of pip, as environment variables so that they hold whoever calls it: also for the PyTorch extension.

    Yields:
        A function that puts other constraints in the place of those of the plan.
    """
    wanted = {"PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_INPUT": "1"}
    if plan.folder is not None:
        # A space would end the path: pip takes several here.
        wanted |= {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": plan.folder.resolve().as_uri()}
    before = {name: os.environ.get(name) for name in (*wanted, "PIP_CONSTRAINT")}

    def constrain(constraints: tuple[str, ...]) -> None:
        Path(name).write_text("".join(f"{one}\n" for one in constraints), encoding="utf-8")

    descriptor, name = tempfile.mkstemp(prefix="medattn-constraints-", suffix=".txt")
    os.close(descriptor)
    try:
        constrain(plan.constraints)
        theirs = [before["PIP_CONSTRAINT"]] if before["PIP_CONSTRAINT"] else []
        os.environ.update({**wanted, "PIP_CONSTRAINT": " ".join([*theirs, Path(name).as_uri()])})
        yield constrain
    finally:
        for variable, value in before.items():
            if value is None:
                os.environ.pop(variable, None)
            else:
                os.environ[variable] = value
        Path(name).unlink(missing_ok=True)


def slicer_doors() -> Doors:
    """The calls of 3D Slicer.

    Raises:
        InstallationError: the PyTorch extension is not installed (only when torch is asked for).
    """
    import slicer

    def ask(text: str) -> bool:
        return bool(slicer.util.confirmOkCancelDisplay(text, _("MedAttn: install Python packages")))

    def install_torch(version: str) -> bool:
        try:
            from PyTorchUtils import PyTorchUtilsLogic
        except ImportError as error:
            raise InstallationError(
                _(
                    "The PyTorch extension is missing. "
                    "Install it in the Extensions Manager, restart, and press Apply again."
                )
            ) from error
        torch = PyTorchUtilsLogic().installTorch(askConfirmation=False, torchVersionRequirement=version)
        return torch is not None

    def pip_install(arguments: list[str]) -> None:
        try:
            from slicer.packaging import pip_install as install_by_slicer
        except ImportError:  # before 5.11
            slicer.util.pip_install(arguments)
        else:
            install_by_slicer(arguments, requester="MedAttn")

    return Doors(ask, install_torch, pip_install)


def _step(call: Callable[[Any], Any], argument: Any, what: str) -> Any:
    try:
        return call(argument)
    except InstallationError:
        raise
    except Exception as error:  # of pip, of Slicer or of the other extension: whichever kind they use
        raise InstallationError(
            _(
                "{what} could not be installed ({reason}). The Python console has the messages of pip. "
                "Without access to a package index, set {variable} to a folder of wheels."
            ).format(what=what, reason=type(error).__name__, variable=WHEELS_VARIABLE)
        ) from error
