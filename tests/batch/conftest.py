"""A real bundle with a small, untrained network, and thin scans for it: the batch is asked, not the model."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from medattn_core import volumes


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundles") / "tiny"
    make_bundle(folder, seed=0)
    return folder


@pytest.fixture(scope="session")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with other weights."""
    folder = tmp_path_factory.mktemp("bundles") / "tiny"
    make_bundle(folder, seed=1)
    return folder


def make_bundle(folder: Path, seed: int) -> None:
    import torch

    from medattn_core.bundles import save_bundle
    from medattn_core.networks.attention_cnn import AttentionCNN
    from medattn_core.tasks import TaskSpec

    settings = {
        "spatial_dims": 2,
        "in_channels": 1,
        "out_channels": 2,
        "encoder_options": {"widths": [4, 4, 8, 8]},
        "width": 8,
        "slicewise": True,
    }
    torch.manual_seed(seed)
    save_bundle(
        folder,
        task=TaskSpec(
            name="tiny", labels=("glioma", "none"), spatial_dims=2, slicewise=True, spacing=(4.0, 4.0),
            field_of_view=240.0,
        ),
        network_settings=settings,
        state_dict=AttentionCNN(**settings).state_dict(),
        description="untrained",
        version="0.0.1",
        data_license="none",
    )  # fmt: skip


@pytest.fixture(scope="session")
def scans(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """12 scans, no two alike."""
    folder = tmp_path_factory.mktemp("scans")
    paths = []
    for number in range(12):
        rng = np.random.default_rng(number)
        data = rng.integers(0, 900, (60, 60, 2 + number % 3)).astype(np.int16)
        path = folder / f"scan{number:02}.nii.gz"
        volumes.write(volumes.Volume(data=data, affine=np.diag([4.0, 4.0, 5.0, 1.0])), path)
        paths.append(path)
    return paths


@pytest.fixture
def alike(scans: list[Path], tmp_path: Path) -> list[Path]:
    """Three patients' scans of one name."""
    paths = [tmp_path / patient / "scan.nii.gz" for patient in "abc"]
    for path, scan in zip(paths, scans[:3], strict=True):
        path.parent.mkdir()
        shutil.copy(scan, path)
    return paths
