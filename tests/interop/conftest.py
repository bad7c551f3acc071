"""Bundles of every kind, exported: the shipped ones, a small 3D classifier, a small 3D ensemble for a quantity."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from medattn_core.bundles import Bundle, load, shipped_names
from medattn_core.interop import export, parity
from medattn_core.training import train
from medattn_core.volumes import write
from tests.blobs import settings, write_blobs

ROOT = Path(__file__).resolve().parents[2]
SMALL = ("blobs", "blob_size")
EVERY = (*SMALL, *shipped_names())
MODELS = [*SMALL, *(pytest.param(name, marks=pytest.mark.slow) for name in shipped_names())]
"""Every model; the shipped ones take minutes."""

FORMATS = {
    "torchscript": (),
    "onnx": ("onnx", "onnxscript", "onnxruntime"),
    "openvino": ("onnx", "onnxscript", "openvino"),
}


def available(name: str) -> bool:
    """Whether the packages of a format are installed."""
    return all(find_spec(package) is not None for package in FORMATS[name])


@pytest.fixture(scope="session", autouse=True)
def _no_bytecode() -> Iterator[None]:
    """Exports are shared by the tests of this room: what runs there leaves nothing in them, whatever the order."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "dont_write_bytecode", True)
        patch.setenv("PYTHONDONTWRITEBYTECODE", "1")
        yield


@pytest.fixture(autouse=True)
def _no_scripts_left() -> Iterator[None]:
    """Every bundle's code is a package named scripts: that of one test's bundle must not be found by the next test.

    Nor that which the making of a shared bundle, or a test of another room in this process, has left.
    """
    _forget_scripts()
    path = list(sys.path)
    yield
    sys.path[:] = path
    _forget_scripts()


def _forget_scripts() -> None:
    sys.path[:] = [folder for folder in sys.path if not (Path(folder) / "scripts").is_dir()]
    for name in [name for name in sys.modules if name == "scripts" or name.startswith("scripts.")]:
        del sys.modules[name]


@pytest.fixture(scope="session")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of everything that is trained and exported once."""
    return tmp_path_factory.mktemp("interop")


@pytest.fixture(scope="session")
def lists(workshop: Path) -> dict[str, Path]:
    """Data lists of the small models."""
    found = {}
    for name in SMALL:
        folder = workshop / f"{name}_data"
        folder.mkdir()
        found[name] = write_blobs(folder, regression=name == "blob_size")
    return found


@pytest.fixture(scope="session")
def originals(workshop: Path, lists: dict[str, Path]) -> dict[str, Bundle]:
    """The small models as `medattn train` writes them, and the shipped ones."""
    found = {name: load(name) for name in shipped_names()}
    for name, path in lists.items():
        regression = name == "blob_size"
        part: dict[str, Any] = {"folds": 2} if regression else {"validation_fold": 1}
        found[name] = train(path, workshop / name, config=settings(regression=regression), device="cpu", **part)
    return found


class Exports:
    """Exported bundles by model and kind, each made once."""

    def __init__(self, folder: Path, originals: dict[str, Bundle]) -> None:
        self.folder, self.originals = folder, originals
        self.made: dict[tuple[str, bool], Bundle] = {}

    def __call__(self, name: str, *, self_contained: bool = False) -> Bundle:
        key = (name, self_contained)
        if key not in self.made:
            kind = "alone" if self_contained else "plain"
            # The self-contained ones show that TorchScript carries no import of this package either.
            formats = {f: available(f) and (not self_contained or f == "torchscript") for f in FORMATS}
            self.made[key] = export(
                self.originals[name].path, self.folder / f"{name}_{kind}_classification",
                self_contained=self_contained, **formats,
            )  # fmt: skip
        return self.made[key]


@pytest.fixture(scope="session")
def exports(workshop: Path, originals: dict[str, Bundle]) -> Exports:
    """``exports(name, self_contained=False)``."""
    return Exports(workshop / "exports", originals)


@pytest.fixture(scope="session")
def scans(workshop: Path, lists: dict[str, Path], originals: dict[str, Bundle]) -> dict[str, Path]:
    """A folder of real files for each model, as its `dataset_dir`."""
    found = {name: workshop / f"{name}_scans" for name in (*SMALL, *shipped_names())}
    for name, folder in found.items():
        folder.mkdir()
        files = sorted(lists[name].parent.glob("*.nii.gz")) if name in lists else real_inputs(name, workshop)
        for file in files[:3]:
            shutil.copy(file, folder)
        if not files:  # its data lie not beside this checkout: a made-up scan
            made = parity.example(originals[name].task)
            for index, volume in enumerate(made):
                place = folder / "case" if len(made) > 1 else folder
                place.mkdir(exist_ok=True)
                write(volume, place / f"example{index}.nii.gz")
    return found


def real_inputs(name: str, workshop: Path) -> list[Path]:
    """Real scans for a shipped model: samples of this repository, and its own data where they lie beside it."""
    shared = ROOT.parent / "shared" / "data"
    if name == "vessel_aneurysm" and (shared / "vesselmnist3d" / "vesselmnist3d_64.npz").is_file():
        folder = workshop / "vessels"
        if not folder.is_dir():
            folder.mkdir()
            images = np.load(shared / "vesselmnist3d" / "vesselmnist3d_64.npz")["test_images"][:22]
            for index, image in enumerate(images):
                nibabel.save(nibabel.Nifti1Image(image, np.eye(4)), folder / f"{index:02d}.nii.gz")
        return sorted(folder.iterdir())
    folders = {"brain_tumor_t1ce": "brain_tumor_t1ce/images", "hippocampus_volume": "hippocampus/images"}
    found = sorted((ROOT / "sample_data").glob("*_image.nrrd")) if name == "brain_tumor_t1ce" else []
    inside = sorted((shared / folders[name]).rglob("*")) if name in folders else []
    return found + [path for path in inside if path.name.endswith((".nii.gz", ".jpg", ".png", ".nrrd"))][:22]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory in which code of a bundle would leave its mark."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def untouched(place: Path) -> None:
    """Whether nothing of a bundle left its mark in :func:`place`."""
    assert list(place.iterdir()) == [], "something of the bundle ran, or was written beside it"
