"""What of a bundle's folder makes results those of another bundle, and what only lies there."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

import pytest

from medattn_core.batch.stamps import folder_hash
from tests.batch.checks import records, run


@pytest.fixture
def bundle(tiny: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny, tmp_path / "bundle"))


def test_results_in_the_bundle_are_gone_on_with(bundle: Path, scans: list[Path]) -> None:
    output = bundle / "results"
    run(scans[:2], output, bundle)
    (bundle / ".DS_Store").write_bytes(b"of a file manager")
    (bundle / "configs" / ".DS_Store").write_bytes(b"of a file manager")
    assert run(scans[:3], output, bundle).taken_over == 2
    assert len(records(output)) == 3


def test_what_only_lies_there(bundle: Path) -> None:
    before = folder_hash(bundle)
    for name in (
        *(".git/config", ".hidden.py", "scripts/__pycache__/a.pyc"),
        *("results/predictions.json", "results/maps/a.nii.gz", "predictions.csv", "x_evidence.nii.gz"),
    ):
        path = bundle / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    for name in ("gone", "models/gone.pt", "scripts/gone.py"):
        os.symlink(bundle / "nowhere", bundle / name)
    assert folder_hash(bundle) == before


@pytest.mark.parametrize(
    "name",
    [
        *("configs/other.json", "models/model.ts", "scripts/net.py", "scripts/table.json", "package/net.py"),
        *("atlas/mean.npy", "atlas_evidence.nii.gz"),
    ],
)
def test_what_decides(bundle: Path, name: str) -> None:
    seen = {folder_hash(bundle)}
    path = bundle / name
    path.parent.mkdir(exist_ok=True)
    for content in (b"1", b"2"):
        path.write_bytes(content)
        seen.add(folder_hash(bundle))
    assert len(seen) == 3


def test_the_hash_of_a_whole_bundle_is_that_of_all_its_files(bundle: Path) -> None:
    """As it was before anything was left out: the results of earlier runs are still those of this bundle."""
    digest = hashlib.sha256()
    for parent, folders, names in os.walk(bundle):
        folders.sort()
        for name in sorted(names):
            content = Path(parent, name).read_bytes()
            digest.update(f"{Path(parent, name).relative_to(bundle).as_posix()}\0{len(content)}\0".encode() + content)
    assert folder_hash(bundle) == digest.hexdigest()
