"""Copy modules of this package, and all they import, flat into the ``scripts`` folder of a bundle.

``medattn_core.networks.attention_cnn`` becomes ``scripts/networks_attention_cnn.py``, and its imports of this package
become imports of ``scripts``, all of them at the top: MONAI Label takes ``scripts`` out of the loaded modules between
two bundles, after which an import within a function would find another bundle's modules, or none.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

PACKAGE = "medattn_core"
SCRIPTS = "scripts"

_IMPORT = re.compile(
    rf"^(?P<indent> *)from (?P<module>{PACKAGE}[\w.]*) import (?P<names>\([^)]*\)|[^\n(]+)$", re.MULTILINE
)


def flat(name: str) -> str:
    """Name of a module in ``scripts``: ``medattn_core.volumes.dicom.reader`` is ``volumes_dicom_reader``."""
    return name.removeprefix(f"{PACKAGE}.").replace(".", "_")


# MONAI parses any expression that holds the word "import" before it puts in what `@` names, and fails.
_SCRIPTS_PATH = (
    "$(None if os.path.abspath(@bundle_root) in sys.path else sys.path.insert(0, os.path.abspath(@bundle_root))) "
    "if os.path.isdir(os.path.join(@bundle_root, 'scripts')) "
    "else None if 'scripts' in sys.modules or find_spec('scripts') "
    "else (_ for _ in ()).throw(FileNotFoundError('the folder scripts of this bundle is not found from '"
    " + os.getcwd() + ': change into the folder of the bundle, or give it as bundle_root'))"
)
_IMPORTS = ("$import os", "$import sys", "$from importlib.util import find_spec")


def relocate(config: dict[str, Any]) -> dict[str, Any]:
    """A configuration that names ``scripts`` instead of this package, and finds it.

    MONAI puts the folder of a bundle on the search path only when it runs it: too late for the parts of the
    configuration, and never in ``verify_net_in_out`` and ``ckpt_export``. So each of them requires it first.
    """
    moved = _relocate(config)
    if moved == config:
        return config
    imports = [*moved.get("imports", []), *(line for line in _IMPORTS if line not in moved["imports"])]
    return {**moved, "imports": imports, "scripts_path": _SCRIPTS_PATH}


def _relocate(config: Any) -> Any:
    if isinstance(config, dict):
        found = {key: _relocate(value) for key, value in config.items()}
        target = config.get("_target_")
        if isinstance(target, str) and target.startswith(f"{PACKAGE}."):
            module, _, name = target.rpartition(".")
            found |= {"_target_": f"{SCRIPTS}.{flat(module)}.{name}", "_requires_": "@scripts_path"}
        return found
    return [_relocate(value) for value in config] if isinstance(config, list) else config


def targets(config: Any) -> set[str]:
    """Modules of this package that the ``_target_`` of a configuration name."""
    if isinstance(config, dict):
        own = {config["_target_"].rpartition(".")[0]} if str(config.get("_target_", "")).startswith(PACKAGE) else set()
        return own.union(*(targets(value) for value in config.values()))
    return set().union(*(targets(value) for value in config)) if isinstance(config, list) else set()


def vendor(modules: Iterable[str]) -> dict[str, str]:
    """Sources of modules and of everything of this package that they import, ready for ``scripts``.

    Returns:
        File name to text, in alphabetical order; ``__init__.py`` among them.
    """
    waiting, sources = sorted(modules), {}
    while waiting:
        module = waiting.pop()
        if module in sources:
            continue
        sources[module], needed = _rewritten(module)
        waiting += sorted(needed)
    files = {f"{flat(module)}.py": text for module, text in sources.items()}
    files["__init__.py"] = '"""Network, preprocessing and training of this bundle; copied from MedAttn."""\n'
    return dict(sorted(files.items()))


def _path(module: str) -> Path | None:
    """Source file of a module of this package; None if there is no module of that name."""
    try:
        spec = find_spec(module)
    except ModuleNotFoundError:
        return None
    return Path(spec.origin) if spec is not None and spec.origin else None


@cache
def _bound(package: str) -> frozenset[str]:
    """Names that the ``__init__`` of a package binds itself: ``volumes.read`` is a function, not the module."""
    path = _path(package)
    tree = ast.parse(path.read_text(encoding="utf-8")) if path is not None else ast.Module([], [])
    return frozenset(a.asname or a.name for n in tree.body if isinstance(n, ast.ImportFrom) for a in n.names)


def _rewritten(module: str) -> tuple[str, set[str]]:
    """Source of a module with its imports turned to ``scripts``, and the modules that it needs."""
    path = _path(module)
    assert path is not None, module
    text = path.read_text(encoding="utf-8")
    needed: set[str] = set()
    late: list[str] = []

    def replace(match: re.Match[str]) -> str:
        lines = []
        for name in re.findall(r"\w+(?: as \w+)?", match["names"]):
            original, _, alias = name.partition(" as ")
            inner = f"{match['module']}.{original}"
            if _path(inner) is not None and original not in _bound(match["module"]):
                needed.add(inner)
                lines.append(f"from {SCRIPTS} import {flat(inner)} as {alias or original}")
            else:
                needed.add(match["module"])
                lines.append(f"from {SCRIPTS}.{flat(match['module'])} import {name}")
        if not match["indent"]:
            return "\n".join(lines)
        # `if TYPE_CHECKING` blocks and functions: at the top instead.
        late.extend(line for line in lines if line not in late)
        return f"{match['indent']}pass"

    text = _IMPORT.sub(replace, text)
    if late:
        tree = ast.parse(text)
        after = max(
            (node.end_lineno or 0 for node in tree.body if isinstance(node, (ast.Import, ast.ImportFrom))),
            default=(tree.body[0].end_lineno or 0) if tree.body else 0,
        )
        lines = text.split("\n")
        text = "\n".join([*lines[:after], *late, *lines[after:]])
    return text, needed
