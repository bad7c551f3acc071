"""What a build of the extension would stumble over: lists, names of widgets, imports, catalogue entry, texts."""

from __future__ import annotations

import ast
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.extension.conftest import EXTENSION, MODULE

ROOT = EXTENSION.parent
STUB = Path(__file__).parent / "slicer_stub"
UI = MODULE / "Resources" / "UI" / "MedAttn.ui"
SOURCES = sorted(path for path in [MODULE / "MedAttn.py", *(MODULE / "MedAttnLib").rglob("*.py")] if path.is_file())
FOREIGN = (
    "torch",
    "monai",
    "medattn_core",
    "nibabel",
    "pydicom",
    "PIL",
    "SimpleITK",
    "PyTorchUtils",
    "packaging",
    "scipy",
)
"""Packages that 3D Slicer has not, or not always: never imported as a file is loaded."""


def listed(variable: str) -> set[str]:
    """Entries of a list in the CMakeLists.txt of the module."""
    text = (MODULE / "CMakeLists.txt").read_text(encoding="utf-8")
    found = re.search(rf"set\({variable}\n(.*?)\n\s*\)", text, flags=re.DOTALL)
    assert found, f"no list {variable}"
    return {line.strip().replace("${MODULE_NAME}", "MedAttn") for line in found[1].splitlines() if line.strip()}


def test_lists_are_the_files() -> None:
    scripts = {path.relative_to(MODULE).as_posix() for path in SOURCES}
    assert listed("MODULE_PYTHON_SCRIPTS") == scripts
    resources = {
        path.relative_to(MODULE).as_posix()
        for path in (MODULE / "Resources").rglob("*")
        if path.is_file() and path.suffix != ".whl"
    }
    assert listed("MODULE_PYTHON_RESOURCES") == resources


@pytest.mark.parametrize("top", [ROOT, EXTENSION], ids=["repository", "extension"])
def test_cmake_configures_and_installs_it(top: Path, tmp_path: Path) -> None:
    """Real CMake from both roots, with a stand-in for 3D Slicer's own macros; the wheel is built and installed."""
    cmake = shutil.which("cmake")
    if cmake is None:
        pytest.skip("cmake is not installed")
    build, prefix = tmp_path / "build", tmp_path / "prefix"
    command = [cmake, "-S", top, "-B", build, f"-DSlicer_DIR={STUB}", f"-DSTUB_PYTHON={sys.executable}"]
    done = subprocess.run([*command, "-Wno-dev"], capture_output=True, text=True, check=False)
    if "No CMAKE_C" in done.stderr:
        pytest.skip("no C compiler, which project() looks for")
    assert done.returncode == 0, done.stderr
    subprocess.run([cmake, "--install", build, "--prefix", prefix], capture_output=True, check=True)
    place = prefix / "lib" / "Slicer-5.10" / "qt-scripted-modules"
    files = {path.relative_to(place).as_posix() for path in place.rglob("*") if path.is_file()}
    wheels = {name for name in files if name.endswith(".whl")}
    assert files - wheels == listed("MODULE_PYTHON_SCRIPTS") | listed("MODULE_PYTHON_RESOURCES")
    assert [
        re.fullmatch(r"Resources/wheels/medattn-[\d.]+\w*-py3-none-any\.whl", name) is not None for name in wheels
    ] == [True], done.stderr
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from MedAttnLib import install_plan, launch\n"
        "assert launch.source_checkout() is None\n"
        "print(install_plan.carried_wheel().name)"
    )
    found = subprocess.run(
        [sys.executable, "-c", code, place], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert found.stdout.strip() == Path(*wheels).name


def settings_of(root: Path) -> dict[str, str]:
    """What the Extensions Index finds: it searches the text of this one file, and follows no include."""
    text = (root / "CMakeLists.txt").read_text(encoding="utf-8")
    return dict(re.findall(r'^set\(\s*(EXTENSION_\w+)\s+"(.*?)"\s*\)', text, flags=re.MULTILINE))


@pytest.mark.parametrize("root", [ROOT, EXTENSION], ids=["repository", "extension"])
def test_extension_says_who_it_is(root: Path) -> None:
    settings = settings_of(root)
    assert settings == settings_of(ROOT), "both roots say the same"
    assert settings["EXTENSION_DEPENDS"] == "PyTorch"
    needed = {"HOMEPAGE", "CONTRIBUTORS", "DESCRIPTION", "ICONURL", "SCREENSHOTURLS", "DEPENDS"}
    assert {name.removeprefix("EXTENSION_") for name in settings} == needed
    addresses = [settings["EXTENSION_ICONURL"], *settings["EXTENSION_SCREENSHOTURLS"].split()]
    for address in addresses:
        name = address.partition("/raw/main/")[2]
        assert (ROOT / name).is_file(), f"{address}: {name} is not in the repository"
        assert address.startswith(settings["EXTENSION_HOMEPAGE"])
    assert len(addresses) == 1 + len(list((EXTENSION / "Screenshots").glob("*.png")))


CATALOGUE = {
    # The fields of slicer-extension-catalog-entry-schema 1.0.1, of which the Extensions Index allows no others.
    "type": "object",
    "required": ["$schema", "category", "scm_url"],
    "additionalProperties": False,
    "properties": {
        "$schema": {
            "type": "string",
            "pattern": r"^https://raw\.githubusercontent\.com/Slicer/Slicer/main/Schemas/"
            r"slicer-extension-catalog-entry-schema-v1\.0\.\d\.json#$",
        },
        "category": {"type": "string", "minLength": 1},
        "scm_url": {"type": "string", "pattern": r"^https://.+\.git$"},
        "scm_revision": {"type": "string"},
        "scm_type": {"enum": ["git", "local"]},
        "build_dependencies": {"type": "array", "items": {"type": "string"}},
        "build_subdirectory": {"type": "string"},
        "enabled": {"type": "boolean"},
        "tier": {"enum": [1, 3, 5]},
    },
}


def test_catalogue_entry() -> None:
    jsonschema = pytest.importorskip("jsonschema")
    entry = json.loads((EXTENSION / "MedAttn.json").read_text(encoding="utf-8"))
    jsonschema.validate(entry, CATALOGUE)
    for missing in CATALOGUE["required"]:  # the check can fail
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({name: value for name, value in entry.items() if name != missing}, CATALOGUE)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**entry, "depends": "PyTorch"}, CATALOGUE)
    settings = settings_of(ROOT)
    assert entry["build_dependencies"] == settings["EXTENSION_DEPENDS"].split()
    assert entry["scm_url"].removesuffix(".git") == settings["EXTENSION_HOMEPAGE"]
    assert f'"{entry["category"]}"' in (MODULE / "MedAttn.py").read_text(encoding="utf-8")


def loaded_at_import(tree: ast.AST) -> Iterator[str]:
    """Packages that are imported as a file is loaded, at whatever depth of classes, conditions and attempts."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.split(".")[0]
        yield from loaded_at_import(node)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_nothing_foreign_is_imported_at_file_scope(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert set(loaded_at_import(tree)) & set(FOREIGN) == set()


def test_the_import_check_sees_what_it_should() -> None:
    tree = ast.parse(
        "import torch.nn\nclass Inside:\n  try:\n    from monai import x\n  except Error: pass\n"
        "def f():\n  import medattn_core\n"
    )
    assert set(loaded_at_import(tree)) == {"torch", "monai"}


@pytest.mark.parametrize("module", ["process", "engine", "local", "launch", "installation", "install_plan"])
def test_the_client_needs_the_standard_library_alone(module: str) -> None:
    code = f"import sys; sys.path.insert(0, {str(MODULE)!r}); import MedAttnLib.{module}"
    subprocess.run([sys.executable, "-S", "-c", code], check=True)


def widgets() -> dict[str, ElementTree.Element]:
    return {one.attrib["name"]: one for one in ElementTree.parse(UI).iter("widget")}


def test_names_of_the_panel_and_of_the_code_agree() -> None:
    if not UI.is_file():
        pytest.skip("the panel is not there")
    text = "\n".join(path.read_text(encoding="utf-8") for path in SOURCES)
    tree = ast.parse(text.replace("from __future__ import annotations", ""))
    used = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and ((isinstance(node.value, ast.Name) and node.value.id == "ui") or ast.unparse(node.value) == "self.ui")
    }
    known = widgets()
    assert used
    assert used - set(known) == set(), "the code names widgets that the panel has not"
    touched = re.compile(r"Button$|ComboBox|CheckBox|Slider|SpinBox|LineEdit|TableWidget|Selector|Table$")
    words = set(re.findall(r"\w+", text))
    idle = [
        name
        for name, one in known.items()
        if touched.search(one.attrib["class"])
        and "Collapsible" not in one.attrib["class"]
        and name not in words
        and not any(p.attrib.get("name") == "SlicerParameterName" for p in one.findall("property"))
    ]
    assert idle == [], "widgets that no code knows and no parameter is bound to"


SHOWN_BY_CALL = re.compile(
    r"^(setText|setToolTip|setWindowTitle|setTitle|setPlaceholderText|setAccessibleName|setStatusTip|addItem|showStatusMessage|"
    r"errorDisplay|infoDisplay|warningDisplay|messageBox|confirm\w+Display|delayDisplay|InstallationError)$"
)
SHOWN_BY_SETTING = re.compile(
    r"^(text|toolTip|windowTitle|title|placeholderText|helpText|acknowledgementText|plainText)$"
)


def is_test(node: ast.stmt) -> bool:
    return isinstance(node, ast.ClassDef) and node.name.endswith("Test")


def bare_texts(tree: ast.Module) -> Iterator[str]:
    """Literal words that a user sees and that nobody can translate."""

    def is_bare(node: ast.expr) -> bool:
        if isinstance(node, ast.JoinedStr):
            return any(isinstance(part, ast.Constant) and re.search(r"[A-Za-z]{2}", part.value) for part in node.values)
        return (
            isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and bool(re.search("[A-Za-z]{2}", node.value))
        )

    tests = {id(node) for one in tree.body if is_test(one) for node in ast.walk(one)}
    for node in ast.walk(tree):
        if id(node) in tests:  # read by developers
            continue
        if isinstance(node, ast.Call) and SHOWN_BY_CALL.match(ast.unparse(node.func).rpartition(".")[2]):
            yield from (f"{node.lineno}: {ast.unparse(one)}" for one in node.args[:2] if is_bare(one))
        elif isinstance(node, ast.Assign) and is_bare(node.value):
            for target in node.targets:
                if isinstance(target, ast.Attribute) and SHOWN_BY_SETTING.match(target.attr):
                    yield f"{node.lineno}: {ast.unparse(node)}"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_texts_can_be_translated(path: Path) -> None:
    assert list(bare_texts(ast.parse(path.read_text(encoding="utf-8")))) == []


def test_the_text_check_sees_what_it_should() -> None:
    bad = 'x.setText("Apply")\nx.toolTip = f"of {n} files"\nslicer.util.errorDisplay("No scan")\n'
    good = 'x.setText(_("Apply"))\nx.text = ""\nx.text = f"{n}"\nx.toolTip = _("{n} files").format(n=n)\n'
    assert len(list(bare_texts(ast.parse(bad)))) == 3
    assert list(bare_texts(ast.parse(good))) == []


def test_the_icon_is_what_the_script_draws() -> None:
    image_module = pytest.importorskip("PIL.Image")
    import numpy as np

    sys.path.insert(0, str(EXTENSION / "Utilities"))
    try:
        import draw_icon
    finally:
        sys.path.pop(0)
    icon = image_module.open(MODULE / "Resources" / "Icons" / "MedAttn.png")
    assert (icon.size, icon.mode) == ((128, 128), "RGBA")
    gap = np.abs(np.asarray(icon).astype(int) - np.asarray(draw_icon.draw()).astype(int))
    assert gap.max() <= 2


def test_pictures_of_the_readme_are_there() -> None:
    for page in (EXTENSION / "README.md", ROOT / "README.md"):
        for name in re.findall(r"!\[.*?\]\((?!http)(.*?)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / name).is_file(), f"{page.name} shows {name}"
