"""What is missing before the first prediction: a plan, made without changing or asking anything."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from MedAttnLib.launch import source_checkout
from MedAttnLib.texts import _

RESOURCES = Path(__file__).resolve().parents[1] / "Resources"

WHEELS_VARIABLE = "MEDATTN_WHEELS"
"""Environment variable with a folder of wheels, for a machine without a way to a package index."""

TORCH = "torch>=2.6"
PROTECTED = ("torch", "torchvision", "SimpleITK", "numpy")
"""Never replaced: they belong to 3D Slicer or to the PyTorch extension."""
NEEDED_OF_SLICER = ("SimpleITK>=2.3", "numpy>=1.26")
"""Part of 3D Slicer: looked for, never installed."""

SIZES_MB = {"torch": 200.0, "nibabel": 4.0, "monai": 3.0, "pillow": 8.0}
"""Download sizes, rounded up. torch is that of the build without CUDA; one with CUDA has about 3,000."""


@dataclass(frozen=True)
class Plan:
    """What is missing.

    Attributes:
        torch: requirement to be met by the PyTorch extension, None where it is met.
        packages: requirements of other packages that are missing or too old.
        wheel: wheel of medattn to be installed, None where it is there.
        constraints: ``name==version`` of what must stay as it is.
        folder: where wheels are taken from instead of a package index.
        problems: what stands in the way; with any of them nothing is installed.
        megabytes: about how much is loaded from a package index.
    """

    torch: str | None = None
    packages: tuple[str, ...] = ()
    wheel: Path | None = None
    constraints: tuple[str, ...] = ()
    folder: Path | None = None
    problems: tuple[str, ...] = ()
    megabytes: float = 0.0

    @property
    def needed(self) -> bool:
        """Whether there is anything to do."""
        return bool(self.torch or self.packages or self.wheel or self.problems)

    def text(self) -> str:
        """What will be done, for the user who is asked."""
        lines = [_("MedAttn needs Python packages that are not installed yet:"), ""]
        if self.torch:
            lines.append(_("- {name}, by the PyTorch extension").format(name=self.torch))
        lines += [f"- {one}" for one in self.packages]
        if self.wheel is not None:
            lines.append(_("- {name}, shipped with the extension").format(name=self.wheel.name))
        lines.append("")
        if self.folder is not None:
            lines.append(_("They are taken from {folder}; nothing is downloaded.").format(folder=self.folder))
        elif self.megabytes:
            size = _("About {size} MB are downloaded.").format(size=f"{self.megabytes:.0f}")
            lines.append(size)
            if self.torch:
                lines.append(_("With an NVIDIA graphics card PyTorch is about 3000 MB."))
        else:
            lines.append(_("Nothing is downloaded."))
        lines.append(_("The Python environment of 3D Slicer is changed; installed packages stay as they are."))
        return "\n".join(lines)


def make_plan(
    installed: Mapping[str, str | None],
    *,
    requirements: Sequence[str],
    wheel: Path | None = None,
    folder: Path | None = None,
    core: bool = False,
) -> Plan:
    """Compare what is there with what is needed.

    Args:
        installed: version by distribution name; None where it is there but its version is not known.
        requirements: of requirements.txt.
        wheel: of medattn, carried by the extension.
        folder: of wheels, to be used instead of a package index.
        core: medattn_core is found without a distribution (a source checkout).
    """
    there = {_canonical(name): version for name, version in installed.items()}
    problems = [problem for one in NEEDED_OF_SLICER if (problem := _not_of_slicer(one, there))]
    torch = None if _meets(there, TORCH) else TORCH
    if torch and "torch" in there:
        problems.append(
            _(
                "PyTorch {version} is installed, {needed} is needed. "
                "Uninstall it in the module 'PyTorch Utils', restart and try again."
            ).format(version=there["torch"], needed=TORCH)
        )
    packages = tuple(one for one in requirements if not _meets(there, one))
    carried = wheel if wheel is not None and not core and _is_newer(wheel, there) else None
    if not core and carried is None and "medattn" not in there:
        problems.append(_("medattn is not installed, and this build of the extension ships no wheel of it."))
    if folder is not None and not folder.is_dir():
        problems.append(_("{folder} is not a folder; name the folder that holds the wheels.").format(folder=folder))
    missing = [_name(one) for one in (*((torch,) if torch else ()), *packages)]
    return Plan(
        torch=torch,
        packages=packages,
        wheel=carried,
        constraints=constraints_of(installed),
        folder=folder,
        problems=tuple(problems),
        megabytes=0.0 if folder is not None else sum(SIZES_MB.get(name, 10.0) for name in missing),
    )


def constraints_of(installed: Mapping[str, str | None]) -> tuple[str, ...]:
    """``name==version`` of what is there and must never be replaced.

    Args:
        installed: version by distribution name.
    """
    there = {_canonical(name): version for name, version in installed.items()}
    return tuple(f"{name}=={there[_canonical(name)]}" for name in PROTECTED if there.get(_canonical(name)) is not None)


def torch_is_met(installed: Mapping[str, str | None]) -> bool:
    """Whether torch is there and new enough."""
    return _meets({_canonical(name): version for name, version in installed.items()}, TORCH)


def current_plan(folder: Path | None = None) -> Plan:
    """The plan for the Python that runs this, with what the extension carries.

    Args:
        folder: of wheels; the environment variable ``MEDATTN_WHEELS`` by default.
    """
    if folder is None and os.environ.get(WHEELS_VARIABLE):
        folder = Path(os.environ[WHEELS_VARIABLE])
    requirements = load_requirements(RESOURCES / "requirements.txt")
    # Only what the plan asks about: the metadata of every package of 3D Slicer would keep the window for longer.
    names = {*PROTECTED, "medattn", *(_name(one) for one in (TORCH, *NEEDED_OF_SLICER, *requirements))}
    return make_plan(
        installed_versions(names=sorted(names)),
        requirements=requirements,
        wheel=carried_wheel(),
        folder=folder,
        core=source_checkout() is not None,
    )


def installed_versions(path: Sequence[str] | None = None, names: Sequence[str] | None = None) -> dict[str, str | None]:
    """Version of every distribution, without importing any.

    Args:
        path: folders instead of those of this Python.
        names: look for these alone, which is quicker.
    """
    importlib.invalidate_caches()
    where = {} if path is None else {"path": list(path)}
    found = (
        metadata.distributions(**where)
        if names is None
        else (one for name in names for one in metadata.distributions(name=name, **where))
    )
    versions: dict[str, str | None] = {}
    for one in found:
        name = one.metadata["Name"]
        if name:
            versions.setdefault(name, one.version)  # the first one on the path is the one that is imported
    known = {_canonical(name) for name in versions}
    if path is None and "simpleitk" not in known and importlib.util.find_spec("SimpleITK") is not None:
        versions["SimpleITK"] = None  # a build of 3D Slicer whose SimpleITK came without its metadata
    return versions


def load_requirements(path: Path) -> list[str]:
    """Lines of a requirements file without comments and options."""
    lines = (line.strip() for line in path.read_text(encoding="utf-8").splitlines())
    return [line for line in lines if line and not line.startswith(("#", "-"))]


def carried_wheel(folder: Path = RESOURCES / "wheels") -> Path | None:
    """The newest wheel of medattn in a folder."""
    found = [path for path in folder.glob("medattn-*.whl") if path.is_file()] if folder.is_dir() else []
    version = _packaging("version").Version
    return max(found, key=lambda path: version(path.name.split("-")[1]), default=None)


def _not_of_slicer(requirement: str, there: Mapping[str, str | None]) -> str | None:
    if _meets(there, requirement):
        return None
    version = there.get(_name(requirement), "")
    found = _("{version} is there").format(version=version) if version else _("it is missing")
    return _("{requirement} is part of 3D Slicer, but {found}; install Slicer 5.10 or newer.").format(
        requirement=requirement, found=found
    )


def _meets(there: Mapping[str, str | None], requirement: str) -> bool:
    parsed = _packaging("requirements").Requirement(requirement)
    name = _canonical(parsed.name)
    if parsed.marker is not None and not parsed.marker.evaluate():
        return True
    version = there.get(name)
    return name in there and (version is None or parsed.specifier.contains(version, prereleases=True))


def _is_newer(wheel: Path, there: Mapping[str, str | None]) -> bool:
    version = _packaging("version").Version
    present = there.get("medattn")
    return "medattn" not in there or (present is not None and version(wheel.name.split("-")[1]) > version(present))


def _name(requirement: str) -> str:
    return _canonical(_packaging("requirements").Requirement(requirement).name)


def _canonical(name: str) -> str:
    return str(_packaging("utils").canonicalize_name(name))


def _packaging(part: str) -> Any:
    """A module of ``packaging``, or of the copy in pip where 3D Slicer has none."""
    try:
        return importlib.import_module(f"packaging.{part}")
    except ImportError:
        return importlib.import_module(f"pip._vendor.packaging.{part}")


# Loaded with the module, at the start of 3D Slicer: its regular expressions take 45 ms, and the first plan is
# made in the window's thread.
for _part in ("requirements", "utils", "version"):
    with contextlib.suppress(ImportError):
        _packaging(_part)
