"""The plan, and its execution by a real pip in a throw-away environment with wheels from a folder.

The wheels are empty but for their metadata: what is tested is what pip decides. That of medattn is the real one.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.extension.conftest import EXTENSION

REQUIREMENTS = ["nibabel>=5.2", "monai>=1.4", "pillow>=10.1"]
SLICER = {"SimpleITK": "2.4.0", "numpy": "2.0.2"}
ALL = {**SLICER, "torch": "2.7.0+cpu", "nibabel": "5.3.2", "monai": "1.5.1", "pillow": "11.0", "medattn": "0.1.0"}


def empty_wheel(folder: Path, name: str, version: str, *requires: str) -> Path:
    """A wheel that holds metadata alone."""
    info = f"{name}-{version}.dist-info"
    needs = "".join(f"Requires-Dist: {one}\n" for one in requires)
    files = {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needs}",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(
        f"{path},sha256={base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b'=').decode()},{len(text)}\n"
        for path, text in files.items()
    )
    path = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for inside, text in {**files, f"{info}/RECORD": f"{record}{info}/RECORD,,\n"}.items():
            archive.writestr(inside, text)
    return path


class Venv:
    """A throw-away environment, to which the pip of this one installs: making one with its own pip takes seconds."""

    def __init__(self, folder: Path) -> None:
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
        self.python = str(next(folder.glob("bin/python")) if os.name != "nt" else folder / "Scripts" / "python.exe")
        self.command = [sys.executable, "-m", "pip", "--python", self.python, "--disable-pip-version-check"]
        self.calls: list[list[str]] = []

    def pip(self, arguments: list[str]) -> None:
        self.calls.append(arguments)
        done = subprocess.run([*self.command, "install", *arguments], capture_output=True, text=True, check=False)
        if done.returncode:
            raise subprocess.CalledProcessError(done.returncode, "pip", done.stdout, done.stderr)

    def versions(self) -> dict[str, str]:
        listed = subprocess.run(
            [*self.command, "list", "--format", "json"], capture_output=True, text=True, check=True
        ).stdout
        return {one["name"]: one["version"] for one in json.loads(listed)}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The real wheel of medattn, as the extension carries it."""
    sys.path.insert(0, str(EXTENSION / "Utilities"))
    try:
        import build_wheel
    finally:
        sys.path.pop(0)
    if not build_wheel.has_setuptools():
        pytest.skip("setuptools 77 or newer builds this project")
    return build_wheel.build(EXTENSION.parent, tmp_path_factory.mktemp("carried with space"))


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of wheels that tempt pip to replace what belongs to 3D Slicer."""
    folder = tmp_path_factory.mktemp("wheels with space")
    for name, version, *requires in (
        ("simpleitk", "2.4.0"),
        ("simpleitk", "2.6.0"),
        ("numpy", "2.0.2"),
        ("numpy", "3.0.0"),
        ("torch", "2.7.0"),
        ("torch", "2.9.0"),
        ("nibabel", "5.3.2", "numpy>=1.25"),
        ("nibabel", "9.0.0", "numpy>=3"),
        ("monai", "1.5.1", "torch>=2.4", "numpy>=1.26"),
        ("monai", "2.0.0", "torch>=2.9", "SimpleITK>=2.5"),
        ("pillow", "11.0.0"),
    ):
        empty_wheel(folder, name, version, *requires)
    return folder


@pytest.fixture
def slicer_python(tmp_path: Path, shelf: Path) -> Venv:
    """An environment with what 3D Slicer and the PyTorch extension have put there."""
    venv = Venv(tmp_path / "venv")
    there = ["simpleitk==2.4.0", "numpy==2.0.2", "torch==2.7.0"]
    venv.pip(["--no-index", "--find-links", str(shelf), *there])
    venv.calls.clear()
    return venv


def doors(
    venv: Venv, *, answer: bool = True, torch: Callable[[str], bool] | None = None, asked: list[str] | None = None
):
    from MedAttnLib.installation import Doors

    def ask(text: str) -> bool:
        if asked is not None:
            asked.append(text)
        return answer

    return Doors(ask, torch or (lambda version: pytest.fail("torch was there")), venv.pip, venv.versions)


# --- the plan


def test_nothing_to_do(tmp_path: Path) -> None:
    from MedAttnLib.install_plan import make_plan

    assert not make_plan(ALL, requirements=REQUIREMENTS).needed
    same = tmp_path / "medattn-0.1.0-py3-none-any.whl"
    assert not make_plan(ALL, requirements=REQUIREMENTS, wheel=same).needed
    older = tmp_path / "medattn-0.0.9-py3-none-any.whl"
    assert not make_plan(ALL, requirements=REQUIREMENTS, wheel=older).needed
    assert make_plan(ALL, requirements=REQUIREMENTS, wheel=tmp_path / "medattn-0.2.0-py3-none-any.whl").wheel


def test_a_fresh_slicer(tmp_path: Path) -> None:
    from MedAttnLib.install_plan import make_plan

    wheel = tmp_path / "medattn-0.1.0-py3-none-any.whl"
    plan = make_plan(SLICER, requirements=REQUIREMENTS, wheel=wheel)
    assert (plan.torch, plan.packages, plan.wheel) == ("torch>=2.6", tuple(REQUIREMENTS), wheel)
    assert set(plan.constraints) == {"SimpleITK==2.4.0", "numpy==2.0.2"}
    assert plan.problems == ()
    text = plan.text()
    for word in ("torch>=2.6", "PyTorch extension", *REQUIREMENTS, wheel.name, "215 MB"):
        assert word in text
    there = make_plan(SLICER, requirements=REQUIREMENTS, wheel=wheel, folder=tmp_path)
    assert there.megabytes == 0
    assert str(tmp_path) in there.text()
    assert "MB" not in there.text()


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"torch": "2.1.0"}, "PyTorch 2.1.0"),
        ({"SimpleITK": "2.0.0"}, "SimpleITK>=2.3 is part of 3D Slicer, but 2.0.0 is there"),
        ({"numpy": None, "SimpleITK": ""}, "it is missing"),
    ],
)
def test_what_is_never_replaced_is_a_problem_in_words(changed: dict, words: str) -> None:
    from MedAttnLib.install_plan import make_plan
    from MedAttnLib.installation import Doors, InstallationError, install

    installed = {name: version for name, version in {**ALL, **changed}.items() if version != ""}
    plan = make_plan(installed, requirements=REQUIREMENTS)
    assert words in " ".join(plan.problems)

    def never(*arguments: object) -> bool:
        pytest.fail("nothing may be asked or changed")

    with pytest.raises(InstallationError, match=r"3D Slicer|PyTorch"):
        install(plan, Doors(never, never, never))


def test_medattn_from_nowhere_and_a_folder_that_is_none(tmp_path: Path) -> None:
    from MedAttnLib.install_plan import make_plan

    without = {name: version for name, version in ALL.items() if name != "medattn"}
    assert "no wheel" in make_plan(without, requirements=REQUIREMENTS).problems[0]
    assert not make_plan(without, requirements=REQUIREMENTS, core=True).needed
    gone = make_plan(SLICER, requirements=REQUIREMENTS, folder=tmp_path / "gone", core=True)
    assert any("gone" in problem for problem in gone.problems)


def test_this_checkout_needs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """All of requirements.txt is met by what `make test` installs, so the two lists agree."""
    from MedAttnLib.install_plan import RESOURCES, WHEELS_VARIABLE, current_plan, load_requirements

    monkeypatch.delenv(WHEELS_VARIABLE, raising=False)
    assert not current_plan().needed
    listed = load_requirements(RESOURCES / "requirements.txt")
    assert listed == REQUIREMENTS
    project = (EXTENSION.parent / "pyproject.toml").read_text(encoding="utf-8")
    for one in listed:
        assert f'"{one}"' in project


def test_the_plan_is_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A complete one is kept; one that misses something is made anew, since the user may have mended it elsewhere."""
    from MedAttnLib import installation

    missing, complete = installation.Plan(packages=("monai>=1.4",)), installation.Plan()
    plans = iter([missing, complete, complete])
    monkeypatch.setattr(installation, "current_plan", lambda: next(plans))
    monkeypatch.setattr(installation, "_complete", None)
    assert installation.known_plan() is missing
    assert [installation.known_plan() for _ in range(3)] == [complete] * 3
    assert len(list(plans)) == 1
    pips: list[list[str]] = []
    assert installation.install(missing, installation.Doors(lambda t: True, lambda v: True, pips.append))
    assert len(pips) == 1
    with pytest.raises(StopIteration):  # it is asked for again
        installation.known_plan()


# --- its execution


def test_pip_keeps_what_is_there(slicer_python: Venv, shelf: Path, wheel: Path) -> None:
    """The newest of everything would replace torch, SimpleITK and numpy: it is not taken."""
    from MedAttnLib.installation import install, make_plan

    before = slicer_python.versions()
    plan = make_plan(before, requirements=REQUIREMENTS, wheel=wheel, folder=shelf)
    asked: list[str] = []
    variables = dict(os.environ)
    assert install(plan, doors(slicer_python, asked=asked))
    assert dict(os.environ) == variables
    assert len(asked) == 1
    after = slicer_python.versions()
    for name in ("simpleitk", "numpy", "torch"):
        assert after[name] == before[name]
    assert (after["nibabel"], after["monai"], after["pillow"]) == ("5.3.2", "1.5.1", "11.0.0")
    assert after["medattn"] == wheel.name.split("-")[1]
    assert not make_plan(after, requirements=REQUIREMENTS, wheel=wheel, folder=shelf).needed
    code = "import medattn_core.bundles.load as load; print(load.SHIPPED.is_dir(), medattn_core.__version__)"
    found = subprocess.run(
        [slicer_python.python, "-c", f"import medattn_core; {code}"], capture_output=True, text=True, check=False
    )
    assert found.stdout.split()[:1] == ["True"] or "numpy" in found.stderr  # the empty numpy cannot be imported


def test_what_cannot_be_met_changes_nothing(slicer_python: Venv, tmp_path: Path, wheel: Path) -> None:
    from MedAttnLib.installation import InstallationError, install, make_plan

    greedy = tmp_path / "greedy"
    greedy.mkdir()
    for name, version, *requires in (("nibabel", "9.0.0", "numpy>=3"), ("numpy", "3.0.0"), ("pillow", "11.0.0")):
        empty_wheel(greedy, name, version, *requires)
    before = slicer_python.versions()
    plan = make_plan(before, requirements=["nibabel>=5.2", "pillow>=10.1"], wheel=wheel, folder=greedy)
    with pytest.raises(InstallationError, match=r"nibabel>=5\.2.*could not be installed.*MEDATTN_WHEELS"):
        install(plan, doors(slicer_python))
    assert slicer_python.versions() == before


def test_no_is_no(slicer_python: Venv, shelf: Path, wheel: Path) -> None:
    from MedAttnLib.installation import install, make_plan

    before = slicer_python.versions()
    plan = make_plan(before, requirements=REQUIREMENTS, wheel=wheel, folder=shelf)
    assert install(plan, doors(slicer_python, answer=False)) is False
    assert slicer_python.calls == []
    assert slicer_python.versions() == before


def test_torch_comes_first_and_from_the_folder_too(tmp_path: Path, shelf: Path, wheel: Path) -> None:
    """The PyTorch extension calls pip by itself: the environment tells it of the folder and of what must stay."""
    from MedAttnLib.installation import install, make_plan

    venv = Venv(tmp_path / "venv")
    venv.pip(["--no-index", "--find-links", str(shelf), "simpleitk==2.4.0", "numpy==2.0.2"])
    venv.calls.clear()

    def install_torch(version: str) -> bool:
        assert venv.calls == []
        venv.pip([f"torch{version}"])
        return True

    plan = make_plan(venv.versions(), requirements=REQUIREMENTS, wheel=wheel, folder=shelf)
    assert install(plan, doors(venv, torch=install_torch))
    after = venv.versions()
    assert (after["torch"], after["simpleitk"], after["numpy"]) == ("2.9.0", "2.4.0", "2.0.2")
    declined = Venv(tmp_path / "declined")
    before = declined.versions()
    plan = make_plan(SLICER, requirements=REQUIREMENTS, wheel=wheel, folder=shelf)
    assert install(plan, doors(declined, torch=lambda version: False)) is False
    assert declined.versions() == before


def test_the_torch_just_installed_stays(tmp_path: Path, shelf: Path, wheel: Path) -> None:
    """On a first installation torch is not there when the plan is made: monai must not exchange it afterwards."""
    from MedAttnLib.installation import InstallationError, install, make_plan

    def first(folder: Path, where: str) -> tuple[Venv, object, object]:
        venv = Venv(tmp_path / where)
        venv.pip(["--no-index", "--find-links", str(shelf), "simpleitk==2.4.0", "numpy==2.0.2"])

        def install_torch(version: str) -> bool:
            venv.pip(["--no-deps", "torch==2.7.0"])  # what suits the graphics card, not the newest
            return True

        plan = make_plan(venv.versions(), requirements=REQUIREMENTS, wheel=wheel, folder=folder)
        assert plan.torch is not None
        return venv, plan, doors(venv, torch=install_torch)

    venv, plan, own = first(shelf, "choice")
    assert install(plan, own)
    after = venv.versions()
    assert (after["torch"], after["monai"]) == ("2.7.0", "1.5.1")

    greedy = tmp_path / "greedy"
    greedy.mkdir()
    for name, version, *requires in (
        ("torch", "2.7.0"),
        ("torch", "2.9.0"),
        ("nibabel", "5.3.2"),
        ("monai", "2.0.0", "torch>=2.9"),
        ("pillow", "11.0.0"),
    ):
        empty_wheel(greedy, name, version, *requires)
    venv, plan, own = first(greedy, "none")
    with pytest.raises(InstallationError, match=r"monai>=1\.4.*could not be installed.*MEDATTN_WHEELS"):
        install(plan, own)
    after = venv.versions()
    assert after["torch"] == "2.7.0"
    assert "monai" not in after


def test_a_torch_that_is_too_old_or_none_ends_it(wheel: Path, shelf: Path) -> None:
    from MedAttnLib.installation import Doors, InstallationError, install, make_plan

    plan = make_plan(SLICER, requirements=REQUIREMENTS, wheel=wheel, folder=shelf)
    for found in (SLICER, {**SLICER, "torch": "2.1.0"}):
        own = Doors(lambda text: True, lambda version: True, lambda a: pytest.fail("too soon"), lambda f=found: f)
        with pytest.raises(InstallationError, match=r"not installed torch>=2\.6"):
            install(plan, own)


def test_the_least_torch_is_that_of_the_project() -> None:
    from MedAttnLib.install_plan import TORCH

    assert f'"{TORCH}' in (EXTENSION.parent / "pyproject.toml").read_text(encoding="utf-8")


# --- the calls of 3D Slicer


def slicer_stand_in(monkeypatch: pytest.MonkeyPatch, new: bool) -> list[tuple]:
    """The three functions of 3D Slicer that are called, under their real names and arguments."""
    from types import ModuleType

    calls: list[tuple] = []
    slicer, util, packaging = ModuleType("slicer"), ModuleType("slicer.util"), ModuleType("slicer.packaging")
    slicer.util, slicer.__path__ = util, []
    util.confirmOkCancelDisplay = lambda text, windowTitle=None: calls.append(("ask", text)) or True  # noqa: N803
    util.pip_install = lambda requirements: calls.append(("old", requirements))
    packaging.pip_install = lambda requirements, requester=None: calls.append(("new", requirements, requester))
    monkeypatch.setitem(sys.modules, "slicer", slicer)
    monkeypatch.setitem(sys.modules, "slicer.util", util)
    monkeypatch.setitem(sys.modules, "slicer.packaging", packaging if new else None)
    return calls


@pytest.mark.parametrize("new", [True, False])
def test_pip_of_slicer_old_and_new(monkeypatch: pytest.MonkeyPatch, new: bool) -> None:
    from MedAttnLib.installation import slicer_doors

    calls = slicer_stand_in(monkeypatch, new)
    own = slicer_doors()
    assert own.ask("may I?")
    own.pip_install(["a", "b"])
    assert calls == [("ask", "may I?"), ("new", ["a", "b"], "MedAttn") if new else ("old", ["a", "b"])]


def test_without_the_pytorch_extension(monkeypatch: pytest.MonkeyPatch) -> None:
    from MedAttnLib.installation import InstallationError, install, make_plan, slicer_doors

    slicer_stand_in(monkeypatch, new=True)
    plan = make_plan(SLICER, requirements=[], core=True)
    with pytest.raises(InstallationError, match="PyTorch extension is missing"):
        install(plan, slicer_doors())
