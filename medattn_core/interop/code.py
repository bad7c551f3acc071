"""What of a bundle would run as code, found without running it.

MONAI evaluates every text of a configuration that begins with ``$``, calls whatever ``_target_`` names, and executes
``logging.conf`` (GHSA-873f-pvrv-4x83, GHSA-wvpx-5qmp-46g3). None of that is done here: files are read as data.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medattn_core.bundles import Bundle
from medattn_core.bundles.bundle import EVALUATE, INFERENCE, TRAIN
from medattn_core.bundles.configs import evaluate_config, inference_config, train_config
from medattn_core.bundles.files import read_json
from medattn_core.errors import BundleError
from medattn_core.interop import configs, vendor
from medattn_core.interop.exporting import config_files, contents_of, scripts


@dataclass(frozen=True)
class Finding:
    """Something that would run.

    Attributes:
        file: relative to the bundle.
        place: key of a configuration, such as ``network_def#_target_``; empty for a whole file.
        text: the expression, or the name of what is called.
    """

    file: str
    place: str
    text: str

    def __str__(self) -> str:
        where = f"{self.file}, {self.place}" if self.place else self.file
        return f"{where}: {self.text if len(self.text) <= 80 else self.text[:77] + '...'}"


def code_in(root: Path) -> list[Finding]:
    """Everything in a bundle folder that MONAI would evaluate, call or import.

    Raises:
        BundleError: ``bad_bundle``: a configuration is no valid JSON, or links out of the folder.
    """
    found: list[Finding] = []
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root).as_posix()
        if path.is_symlink():
            raise BundleError("bad_bundle", f"{root}: {name} is a symbolic link; copy the file itself into the bundle")
        if not path.is_file():
            continue
        if name.startswith("configs/") and path.suffix == ".json":
            found += [Finding(name, place, text) for place, text in _expressions(read_json(path))]
        elif name.startswith("configs/") and path.suffix in (".yaml", ".yml"):
            found.append(Finding(name, "", "a YAML configuration, which is not looked into"))
        elif name == configs.LOGGING and path.read_bytes() != configs.LOGGING_CONF.encode():
            found.append(Finding(name, "", "a logging configuration, which MONAI executes"))
        elif path.suffix in (".py", ".pyc", ".so", ".pyd"):
            found.append(Finding(name, "", "Python code"))
    return found


def _expressions(value: Any, place: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            where = f"{place}#{key}" if place else str(key)
            if key == "_target_":
                yield where, f"calls {inner}"
            else:
                yield from _expressions(inner, where)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _expressions(inner, f"{place}#{index}")
    # Not `@`: it names another value of the same configuration, which is looked at where it stands.
    elif isinstance(value, str) and value.lstrip().startswith(("$", "%")):
        yield place, f"evaluates {value}" if value.lstrip().startswith("$") else f"reads {value}"


def foreign_code(bundle: Bundle) -> list[Finding]:
    """What would run of a MedAttn bundle and is not what this MedAttn writes into every bundle itself.

    Empty for bundles of `medattn train` and `medattn bundle export` of this version, whoever they come from: their
    configurations follow from data that has been checked, and their scripts are copies of this package.
    """
    contents = contents_of(bundle)
    own: dict[str, list[Any]] = {}
    for self_contained in (False, True):
        for name, content in config_files(contents, self_contained=self_contained).items():
            own.setdefault(name, []).append(content)
    plain = {
        INFERENCE: inference_config(bundle.task, bundle.network, 1 + len(bundle.members)),
        EVALUATE: evaluate_config(contents.recipe),
        TRAIN: train_config(bundle.task, bundle.network, contents.training, contents.recipe),
    }
    copied = scripts(contents)
    suspicious = []
    for finding in code_in(bundle.path):
        content = (bundle.path / finding.file).read_bytes()
        if content in own.get(finding.file, ()):
            continue
        if finding.file in plain and read_json(bundle.path / finding.file) == plain[finding.file]:
            continue
        folder, _, name = finding.file.rpartition("/")
        if folder == vendor.SCRIPTS and copied.get(name, "").encode() == content:
            continue
        suspicious.append(finding)
    return suspicious
