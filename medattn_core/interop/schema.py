"""metadata.json against MONAI's schemas: what 20240725 and 20220324 both ask for, and the schema files where given."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from medattn_core.errors import BundleError, missing_package

REQUIRED: dict[str, type] = {
    "schema": str,
    "version": str,
    "monai_version": str,
    "pytorch_version": str,
    "numpy_version": str,
    "required_packages_version": dict,  # schema 20240725
    "optional_packages_version": dict,  # the same in schema 20220324
    "task": str,
    "description": str,
    "authors": str,
    "copyright": str,
    "network_data_format": dict,
}
TENSOR: dict[str, type] = {
    "type": str,
    "format": str,
    "num_channels": int,
    "spatial_shape": list,
    "dtype": str,
    "value_range": list,
}


def problems(metadata: dict[str, Any]) -> list[str]:
    """What both schemas require and the metadata has not, in words; empty where all is there.

    The older schema's key ``optional_packages_version`` is not asked for: MONAI's tools take either.
    """
    found = _lacking(metadata, {k: v for k, v in REQUIRED.items() if k != "optional_packages_version"}, "")
    if not isinstance(metadata.get("optional_packages_version", {}), dict):
        found.append("optional_packages_version is no object")
    if not isinstance(metadata.get("eval_metrics", {}), dict):
        found.append("eval_metrics is no object")
    version, changelog = metadata.get("version"), metadata.get("changelog")
    if not isinstance(changelog, dict):
        found.append("changelog is no object")
    elif isinstance(version, str) and version not in changelog:
        found.append(f"the changelog has no entry for version {version!r}")
    return found + (tensor_problems(metadata) if isinstance(metadata.get("network_data_format"), dict) else [])


def tensor_problems(metadata: dict[str, Any]) -> list[str]:
    """What ``network_data_format`` has not of what both schemas require, in words."""
    data = metadata.get("network_data_format")
    if not isinstance(data, dict):
        return ["network_data_format is no object"]
    found = []
    for side in ("inputs", "outputs"):
        tensors = data.get(side)
        if not isinstance(tensors, dict) or not tensors:
            found.append(f"network_data_format names no {side}")
            continue
        for name, tensor in tensors.items():
            where = f"network_data_format.{side}.{name}"
            found += _lacking(tensor, TENSOR, f"{where}.") if isinstance(tensor, dict) else [f"{where} is no object"]
    return found


def _lacking(data: dict[str, Any], wanted: dict[str, type], where: str) -> list[str]:
    words = {str: "a text", dict: "an object", list: "a list", int: "a whole number"}
    return [
        f"{where}{key} is missing" if key not in data else f"{where}{key} is {data[key]!r}; {words[kind]} is needed"
        for key, kind in wanted.items()
        if not isinstance(data.get(key), kind) or isinstance(data.get(key), bool)
    ]


def check_against(metadata: dict[str, Any], schemas: Path) -> list[str]:
    """Names of the schema files at ``schemas`` (a file, or a folder of them) that the metadata fulfils.

    Raises:
        BundleError: ``bad_bundle``: it does not fulfil one; ``bad_argument``: no schema there.
        MedAttnError: ``missing_dependency``: no jsonschema.
    """
    if find_spec("jsonschema") is None:
        raise missing_package("checking against schema files", ["jsonschema"])  # no extra brings it but `dev`
    import jsonschema

    files = sorted(schemas.glob("meta_schema_*.json")) if schemas.is_dir() else [schemas]
    good = []
    for file in files:
        try:
            schema = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise BundleError("bad_argument", f"{file}: no JSON schema ({type(error).__name__})") from error
        validator = jsonschema.validators.validator_for(schema)(schema)
        wrong = jsonschema.exceptions.best_match(validator.iter_errors(metadata))
        if wrong is not None:
            where = ".".join(str(part) for part in wrong.absolute_path) or "metadata.json"
            raise BundleError("bad_bundle", f"{file.name}: {where}: {wrong.message[:200]}")
        good.append(file.name)
    if not good:
        raise BundleError("bad_argument", f"{schemas}: holds no meta_schema_*.json; give a schema file or their folder")
    return good
