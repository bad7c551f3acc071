"""Find a bundle and check it, without running anything of it.

MONAI bundle configurations are programs (GHSA-873f-pvrv-4x83); this reads the data in ``metadata.json`` only. The
SHA-256 manifest guards against damage and mix-ups, not against malice: who can change a file can change the manifest.
What guards against malice is that nothing here is ever evaluated, and that weights load as tensors alone.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path
from typing import Any

from medattn_core.bundles.bundle import (
    FORMAT,
    INPUT_CHECK,
    LISTED_FILES,
    MEMBER,
    METADATA,
    NETWORK_SETTINGS,
    SCHEMA_DATE,
    WEIGHTS,
    Bundle,
)
from medattn_core.bundles.files import MAX_WEIGHTS, member, read_json, sha256
from medattn_core.bundles.trust import InputCheck, Trust
from medattn_core.errors import BundleError, TaskError
from medattn_core.tasks import TaskSpec

SHIPPED = Path(__file__).parent / "shipped"

DEEPEST = 512
"""Blocks of an encoder that are built at most."""

BUNDLE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def shipped_names() -> list[str]:
    """Names of the bundles that come with the package."""
    if not SHIPPED.is_dir():
        return []
    return sorted(entry.name for entry in SHIPPED.iterdir() if (entry / METADATA).is_file())


def locate(name_or_path: str | os.PathLike[str]) -> Path:
    """Folder of a shipped bundle (bare name) or of any bundle (path).

    A bare name that is shipped means the shipped one, whatever lies in the working directory: write ``./name`` for a
    folder of that name.

    Raises:
        BundleError: ``unknown_bundle``.
    """
    names = shipped_names()
    if isinstance(name_or_path, str) and name_or_path in names:
        return SHIPPED / name_or_path
    if name_or_path == "":  # to Python it is the current folder
        raise BundleError("unknown_bundle", f"the name of the bundle is empty; shipped are: {', '.join(names)}")
    there = False
    with suppress(RuntimeError, OSError):  # a user that is not there, a name too long for the disk
        path = Path(name_or_path).expanduser()
        if path.is_dir():
            return path
        there = path.exists()
    what = "is a file; a bundle is a folder" if there else "no shipped bundle and no folder of that name"
    raise BundleError(
        "unknown_bundle", f"bundle {str(name_or_path)!r}: {what}; shipped are: {', '.join(names) or 'none'}"
    )


def load(name_or_path: str | os.PathLike[str]) -> Bundle:
    """Find a bundle and check its structure, versions, task and the hash of every file it lists.

    Args:
        name_or_path: name of a shipped bundle, or folder of any.

    Raises:
        BundleError: ``unknown_bundle``, ``bad_bundle``, ``hash_mismatch`` or ``unreadable``.
    """
    root = locate(name_or_path)
    metadata_path = member(root, METADATA)
    metadata = read_json(metadata_path)
    own = metadata.get("medattn")
    if not isinstance(own, dict):
        raise BundleError(
            "bad_bundle",
            f"{metadata_path}: no 'medattn' part, so it is not a MedAttn bundle; a bundle made by 'medattn train' is "
            "needed, or --trust for a MONAI classification bundle whose code may run",
        )
    _check_versions(metadata, own, metadata_path)
    task = _task(own.get("task"), metadata_path)
    network = _network(own.get("network"), task, metadata_path)
    hashes = _check_files(own.get("files"), root, metadata_path)
    calibration = own.get("calibration", {})
    if not isinstance(calibration, dict):
        raise BundleError("bad_bundle", f"{metadata_path}: medattn.calibration is no object")
    Trust.from_calibration(calibration, str(metadata_path))
    stacked = own.get("stacked", False)
    if not isinstance(stacked, bool):
        raise BundleError("bad_bundle", f"{metadata_path}: medattn.stacked is {stacked!r}; true or false is accepted")
    members = _members(own.get("members", 1), root, hashes, metadata_path, stacked=stacked)
    name = metadata.get("name", root.resolve().name)
    if not isinstance(name, str) or not BUNDLE_NAME.fullmatch(name):
        raise BundleError("bad_bundle", f"{metadata_path}: name {name!r}; letters, digits, '.', '_', '-' are accepted")
    return Bundle(
        path=root,
        name=name,
        version=metadata["version"],
        description=str(metadata.get("description", "")),
        task=task,
        network=network,
        weights_path=root / WEIGHTS,
        weights_sha256=hashes[WEIGHTS],
        members=members,
        stacked=own.get("members", 1) if stacked else 1,
        input_check=InputCheck.from_dict(read_json(root / INPUT_CHECK), str(root / INPUT_CHECK))
        if INPUT_CHECK in hashes
        else None,
        calibration=calibration,
        metadata=metadata,
    )


def _check_versions(metadata: dict[str, Any], own: dict[str, Any], path: Path) -> None:
    number = own.get("format")
    if not isinstance(number, int) or isinstance(number, bool) or number < 1:
        raise BundleError("bad_bundle", f"{path}: medattn.format is {number!r}; a whole number from 1 is needed")
    if number > FORMAT:
        raise BundleError(
            "bad_bundle",
            f"{path}: bundle format {number}, made by a newer MedAttn; this one reads up to {FORMAT}: update medattn",
        )
    date = re.search(r"meta_schema_(\d{8})\.json$", str(metadata.get("schema", "")))
    if date is None:
        raise BundleError("bad_bundle", f"{path}: 'schema' names no MONAI schema meta_schema_<date>.json")
    if int(date[1]) > SCHEMA_DATE:
        raise BundleError(
            "bad_bundle",
            f"{path}: MONAI schema {date[1]} is newer than {SCHEMA_DATE}, the newest known here: update medattn",
        )
    version = metadata.get("version")
    if not isinstance(version, str) or not BUNDLE_NAME.fullmatch(version):
        raise BundleError("bad_bundle", f"{path}: version {version!r}; something like '1.0.0' is needed")


def _task(data: object, path: Path) -> TaskSpec:
    if not isinstance(data, dict):
        raise BundleError("bad_bundle", f"{path}: no task specification under medattn.task")
    labels = data.get("labels")
    if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
        raise BundleError("bad_bundle", f"{path}: medattn.task.labels is {labels!r}; a list of names is needed")
    try:
        return TaskSpec.from_dict(data)
    except TaskError as error:
        raise BundleError("bad_bundle", f"{path}: {error.message}") from error
    except (TypeError, ValueError) as error:
        raise BundleError("bad_bundle", f"{path}: invalid task specification ({error})") from error


def _network(settings: object, task: TaskSpec, path: Path) -> dict[str, Any]:
    """Check the settings against the task before any memory is spent on a network."""
    if not isinstance(settings, dict):
        raise BundleError("bad_bundle", f"{path}: no network settings under medattn.network")
    unknown = sorted(set(settings) - set(NETWORK_SETTINGS))
    if unknown:
        raise BundleError("bad_bundle", f"{path}: unknown network settings {unknown}; accepted: {NETWORK_SETTINGS}")
    for key, wanted in (
        ("spatial_dims", task.spatial_dims),
        ("out_channels", len(task.labels)),
        ("in_channels", len(task.channels)),
    ):
        if settings.get(key) != wanted:
            raise BundleError("bad_bundle", f"{path}: network {key} is {settings.get(key)!r}, the task needs {wanted}")
    if bool(settings.get("slicewise", False)) != task.slicewise:
        raise BundleError("bad_bundle", f"{path}: network and task disagree about slicewise")
    stride = settings.get("evidence_stride", 8)
    if not isinstance(stride, int) or stride < 1:
        raise BundleError("bad_bundle", f"{path}: network evidence_stride is {stride!r}; a whole number is needed")
    if task.size is not None and any(n % stride for n in task.size):
        raise BundleError(
            "bad_bundle",
            f"{path}: task size {task.size} is no multiple of the evidence stride {stride} along each axis",
        )
    options = settings.get("encoder_options") or {}
    # `pretrained` would make MONAI's networks download; the rest are sizes and names, none of them large.
    plain = isinstance(options, dict) and "pretrained" not in options and _plain(options) and _depth(options) <= DEEPEST
    if not plain:
        raise BundleError(
            "bad_bundle",
            f"{path}: network encoder_options {options!r}; sizes and names are accepted, no 'pretrained', "
            f"and at most {DEEPEST} blocks",
        )
    return settings


def _members(
    count: object, root: Path, hashes: dict[str, str], path: Path, *, stacked: bool
) -> tuple[tuple[Path, str], ...]:
    """Weights files of the further members of an ensemble of ``count`` networks; none where one file holds all."""
    if not isinstance(count, int) or isinstance(count, bool) or not 1 <= count <= 64:
        raise BundleError("bad_bundle", f"{path}: medattn.members is {count!r}; 1 to 64 are accepted")
    names = [] if stacked else [MEMBER.format(i) for i in range(1, count)]
    missing = [name for name in names if name not in hashes]
    if missing:
        raise BundleError("bad_bundle", f"{path}: medattn.files does not list {missing[0]}, a member of the ensemble")
    return tuple((root / name, hashes[name]) for name in names)


def _depth(options: dict[str, Any]) -> int:
    """Blocks of an encoder, as far as lists of numbers say it: each is built before the weights tell that none fits."""
    lists = [options.get(name) for name in ("blocks", "block_config", "layers")]
    return sum(abs(entry) for one in lists if isinstance(one, list) for entry in one if isinstance(entry, int))


def _plain(value: object, depth: int = 0) -> bool:
    if isinstance(value, dict) and depth < 4:
        return all(isinstance(key, str) and _plain(entry, depth + 1) for key, entry in value.items())
    if isinstance(value, list) and depth < 4:
        return len(value) <= 32 and all(_plain(entry, depth + 1) for entry in value)
    if isinstance(value, str):
        return len(value) <= 100
    return value is None or (isinstance(value, (int, float)) and abs(value) <= 8192)


def _check_files(manifest: object, root: Path, path: Path) -> dict[str, str]:
    if not isinstance(manifest, dict):
        raise BundleError("bad_bundle", f"{path}: no list of files and hashes under medattn.files")
    missing = [name for name in LISTED_FILES if name not in manifest]
    if missing:
        raise BundleError("bad_bundle", f"{path}: medattn.files does not list {', '.join(missing)}")
    files = {name: member(root, name) for name in manifest}
    if files[WEIGHTS].stat().st_size > MAX_WEIGHTS:
        raise BundleError(
            "bad_bundle", f"{files[WEIGHTS]}: more than {MAX_WEIGHTS} bytes, which is no model of this kind"
        )
    for name, file in files.items():
        if sha256(file) != manifest[name]:
            raise BundleError(
                "hash_mismatch",
                f"{file}: is not the file that the bundle was made with (SHA-256 differs from {METADATA}); copy the "
                "bundle again, or after a change of your own call medattn_core.bundles.seal(folder)",
            )
    return {name: str(value) for name, value in manifest.items()}
