"""The rules of the house: who may import whom, how long a file is, how quick the door opens."""

from __future__ import annotations

import ast
import importlib
import json
import os
import re
import statistics
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import medattn_core
from medattn_core.errors import CODES

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "medattn_core"
FLOORS = (
    ("errors", "files", "networks", "ranges", "spreadsheets", "values"),
    ("arguments", "device", "volumes", "tasks"),
    ("datalists", "metrics", "transforms"),
    ("bundles",),
    ("inference", "training"),
    ("interop", "outputs"),
    ("batch", "evaluation", "worker"),
    ("cli",),
)
FLOOR_OF = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
FREE = ("version", "__init__", "__main__")
"""The version is read by all; the porch and the back door lead everywhere."""

SOURCES = {
    ".".join(("medattn_core", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
    if "shipped" not in path.parts
}
TREES = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in SOURCES.items()}
HEAVY = ("torch", "monai", "SimpleITK", "nibabel", "pydicom")


def room_of(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


def imported(module: str, tree: ast.AST) -> Iterator[str]:
    """Modules of this package that an import statement anywhere below ``tree`` names, as full names."""
    package = module if SOURCES[module].name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            parts = package.split(".")
            above = ".".join(parts[: len(parts) - node.level + 1]) if node.level else ""
            base = ".".join(filter(None, (above, node.module)))
            names = [f"{base}.{a.name}" if f"{base}.{a.name}" in SOURCES else base for a in node.names]
        else:
            continue
        yield from (name for name in names if name.split(".")[0] == "medattn_core")


def top_level(tree: ast.Module) -> ast.Module:
    """What runs at import: without functions and without ``if TYPE_CHECKING``."""

    class Strip(ast.NodeTransformer):
        def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
            return None

        def visit_If(self, node: ast.If) -> ast.AST | None:
            return None if "TYPE_CHECKING" in ast.unparse(node.test) else self.generic_visit(node)

    return Strip().visit(ast.parse(ast.unparse(tree)))


def python(code: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, timeout=300
    ).stdout


def test_every_room_has_a_floor() -> None:
    assert {room_of(name) for name in SOURCES} <= {*FLOOR_OF, *FREE}


@pytest.mark.parametrize("module", [name for name in SOURCES if room_of(name) not in FREE])
def test_no_import_runs_upward_or_next_door(module: str) -> None:
    room = room_of(module)
    others = {room_of(name) for name in imported(module, TREES[module])} - {room, "version"}
    wrong = [other for other in sorted(others) if FLOOR_OF.get(other, len(FLOORS)) >= FLOOR_OF[room]]
    assert not wrong, f"{module} (floor {FLOOR_OF[room]}) imports {wrong}"


def test_no_circle_in_what_runs_at_import() -> None:
    graph = {name: set(imported(name, top_level(tree))) - {name} for name, tree in TREES.items()}
    try:
        list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        pytest.fail(f"circular import: {' -> '.join(error.args[1])}")


def test_every_module_can_be_imported_first() -> None:
    """A circle inside a room shows only when another of its modules is the first: each has its turn."""
    names = [name for name in SOURCES if room_of(name) != "__main__"]
    failed = python(
        "import importlib, sys, json\n"
        "failed = []\n"
        f"for name in {names!r}:\n"
        "    for loaded in [m for m in sys.modules if m.split('.')[0] == 'medattn_core']:\n"
        "        del sys.modules[loaded]\n"
        "    try:\n"
        "        importlib.import_module(name)\n"
        "    except ImportError as error:\n"
        "        failed.append(f'{name}: {error}')\n"
        "print(json.dumps(failed))"
    )
    assert json.loads(failed.splitlines()[-1]) == []


@pytest.mark.parametrize("module", SOURCES)
def test_file_is_short_and_says_what_it_is(module: str) -> None:
    lines = SOURCES[module].read_text(encoding="utf-8").count("\n")
    assert lines <= 400, f"{module} has {lines} lines; split it by purpose"
    assert ast.get_docstring(TREES[module]), f"{module} has no docstring"


@pytest.mark.parametrize("module", SOURCES)
def test_traces_are_logged_where_nobody_hears_them_unasked(module: str) -> None:
    """The text of a foreign error may name a patient, and Python prints warnings that no handler takes on stderr."""
    calls = [node for node in ast.walk(TREES[module]) if isinstance(node, ast.Call)]
    logged = [ast.unparse(one.func) for one in calls if any(word.arg == "exc_info" for word in one.keywords)]
    logged += [ast.unparse(one.func) for one in calls if ast.unparse(one.func).endswith(".exception")]
    assert module == "medattn_core.errors" or all(name.endswith(".debug") for name in logged)


def test_the_door_opens_quickly_and_alone() -> None:
    code = (
        "import sys, time, json; start = time.perf_counter(); import medattn_core\n"
        f"print(json.dumps([time.perf_counter() - start, [m for m in {HEAVY!r} if m in sys.modules]]))"
    )
    python(code)  # once to compile
    runs = [json.loads(python(code)) for _ in range(5)]
    assert runs[0][1] == []
    assert statistics.median(seconds for seconds, _ in runs) < 0.3


def test_the_lower_floors_need_no_torch() -> None:
    code = "import sys, medattn_core.volumes, medattn_core.tasks, medattn_core.datalists, medattn_core.errors\n"
    assert python(code + "print([m for m in ('torch', 'monai', 'pydicom', 'PIL') if m in sys.modules])").strip() == "[]"


def test_scores_need_no_torch() -> None:
    """Numbers from arrays, and what reads and draws them."""
    scores = ["bootstrap", "cases", "classification", "decisions", "localisation", "measure", "plots", "regression"]
    names = [f"medattn_core.evaluation.{name}" for name in scores]
    code = f"import sys, {', '.join([*names, *(name for name in SOURCES if room_of(name) == 'metrics')])}\n"
    assert python(code + "print([m for m in ('torch', 'monai', 'pydicom', 'PIL') if m in sys.modules])").strip() == "[]"


def test_public_names_and_rooms_resolve() -> None:
    for name in (*medattn_core.__all__, *(room for room in medattn_core._ROOMS)):
        assert getattr(medattn_core, name) is not None
    with pytest.raises(AttributeError, match="no_such_name"):
        medattn_core.no_such_name  # noqa: B018
    assert importlib.import_module("medattn_core").Volume is medattn_core.volumes.Volume


def test_help_is_quick() -> None:
    def seconds() -> float:
        """Of the processor: others who use it are no fault of ours."""
        before = os.times()
        subprocess.run([sys.executable, "-m", "medattn_core", "--help"], cwd=ROOT, capture_output=True, check=True)
        after = os.times()
        return after.children_user - before.children_user + after.children_system - before.children_system

    seconds()
    assert statistics.median(seconds() for _ in range(3)) < 0.5


def codes_given(tree: ast.AST) -> Iterator[str]:
    """Texts given first to an error or a Notice; a comparison with a code gives none."""
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call) and node.args):
        name = ast.unparse(call.func).rpartition(".")[2]
        if name.endswith("Error") or name == "Notice":
            first = call.args[0]
            for value in (first.body, first.orelse) if isinstance(first, ast.IfExp) else (first,):
                if isinstance(value, ast.Constant) and isinstance(value.value, str):
                    yield value.value


def test_codes_are_counted_where_they_are_given() -> None:
    code = 'raise m.VolumeError("a" if x == "b" else "c", f"d")\nNotice("e", "f")\ny = z.code == "g"\nRaises("h")'
    assert list(codes_given(ast.parse(code))) == ["a", "c", "e"]


def test_every_code_is_used_and_documented() -> None:
    used = {code for tree in TREES.values() for code in codes_given(tree)}
    assert set(CODES) - used == set(), "codes that nothing raises or warns with"
    page = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")
    documented = dict(re.findall(r"^\| `(\w+)` \| (.*?) \|$", page, flags=re.MULTILINE))
    wanted = "\n".join(f"| `{code}` | {text} |" for code, text in CODES.items() if documented.get(code) != text)
    assert not wanted, f"docs/errors.md wants these rows:\n{wanted}"
    assert set(documented) == set(CODES)


def project_files() -> list[Path]:
    """Files that are, or would be, committed."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout.decode()
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this is not a git checkout")
    return [path for path in (ROOT / name for name in listed.split("\0") if name) if path.is_file()]


def test_no_file_names_a_machine() -> None:
    # Written in parts, so that this file does not find itself.
    folders = "|".join(("ho" + "me", "ro" + "ot", "wo" + "rk", "Us" + "ers", "mnt", "op" + "t"))
    hosts = "|".join(("py" + r"pi\.org", "python" + r"hosted\.org", r"download\.py" + r"torch\.org"))
    pattern = re.compile(rf"(?<![\w.:/~$}}-])/({folders})/[\w.]|\b[A-Z]:\\\w|{hosts}")
    found = []
    for path in project_files():
        try:
            content = path.read_bytes()
        except FileNotFoundError:  # of another test, gone since it was listed
            continue
        if b"\0" in content[:8192]:
            continue
        for number, line in enumerate(content.decode("utf-8", errors="replace").splitlines(), 1):
            if pattern.search(line[:2000]):
                found.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()[:100]}")
    assert found == []


def test_changelog_knows_the_version() -> None:
    assert f"## [{medattn_core.__version__}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_ci_runs_the_command_of_the_readme() -> None:
    script = ROOT / ".ci" / "run"
    assert "make test" in script.read_text(encoding="utf-8")
    assert os.name == "nt" or os.access(script, os.X_OK)
