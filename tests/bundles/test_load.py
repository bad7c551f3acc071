"""What a damaged, foreign or hostile bundle meets: its own code and message, and nothing of it is run."""

from __future__ import annotations

import inspect
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from medattn_core.bundles import Bundle, list_bundles, load, shipped_names
from medattn_core.bundles.bundle import LISTED_FILES, METADATA, NETWORK_SETTINGS
from medattn_core.bundles.load import SHIPPED
from medattn_core.errors import BundleError
from medattn_core.networks.attention_cnn import AttentionCNN
from tests import checks
from tests.checks import ABSENT, setting

Make = Callable[..., Bundle]
Edit = Callable[[Bundle, Callable[[dict[str, Any]], None]], None]


def refused(target: object, code: str, *words: str) -> None:
    message = checks.refused(load, target, code=code, kind=BundleError)
    for word in words:
        assert word in message


def test_attributes(make: Make, tmp_path: Path) -> None:
    bundle = load(make().path)
    assert bundle.path == tmp_path / "lumps"
    assert (bundle.name, bundle.version, bundle.description) == ("lumps", "1.2.0", "tells lumps apart")
    assert bundle.task.labels == ("round", "square", "none")
    assert bundle.network["out_channels"] == 3
    assert bundle.weights_path.name == "model.pt"
    assert len(bundle.weights_sha256) == 64
    assert bundle.metadata["eval_metrics"]["fold"]["1"] == 0.9


def test_loading_needs_no_torch(make: Make) -> None:
    """A list of bundles must not cost the import of torch."""
    path = str(make().path)
    code = f"import sys; from medattn_core.bundles import load; load({path!r}); print('torch' in sys.modules)"
    command = [sys.executable, "-c", code]
    answer = subprocess.run(command, capture_output=True, text=True, check=True, env=_environment())
    assert answer.stdout.strip() == "False"


def _environment() -> dict[str, str]:
    root = str(Path(__file__).resolve().parents[2])
    return {**os.environ, "PYTHONPATH": os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])}


def test_a_renamed_folder_keeps_the_name(make: Make, tmp_path: Path) -> None:
    shutil.copytree(make().path, tmp_path / "other")
    assert load(str(tmp_path / "other")).name == "lumps"


def test_the_settings_are_those_of_the_network() -> None:
    assert set(NETWORK_SETTINGS) == set(inspect.signature(AttentionCNN).parameters)


# ---------------------------------------------------------------- which bundle


def test_unknown_names(tmp_path: Path, make: Make) -> None:
    refused("no_such_model", "unknown_bundle", "'no_such_model'", "shipped are:")
    refused(tmp_path / "nowhere", "unknown_bundle", "nowhere")
    refused(make().path / METADATA, "unknown_bundle", "is a file")


def test_a_folder_that_is_no_bundle(tmp_path: Path) -> None:
    refused(tmp_path, "bad_bundle", "configs/metadata.json is missing")


def test_shipped_bundles_load() -> None:
    assert [bundle.path.name for bundle in list_bundles()] == shipped_names()


def test_a_shipped_name_is_not_taken_from_the_working_directory(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = shipped_names()
    if not names:
        pytest.skip("no bundle is shipped in this checkout")
    make(tmp_path / names[0])
    monkeypatch.chdir(tmp_path)
    assert load(names[0]).path == SHIPPED / names[0]
    assert load(f"./{names[0]}").description == "tells lumps apart"


# ---------------------------------------------------------------- damage


@pytest.mark.parametrize("name", [METADATA, *LISTED_FILES])
def test_a_missing_file_is_named(make: Make, name: str) -> None:
    bundle = make()
    (bundle.path / name).unlink()
    refused(bundle.path, "bad_bundle", name, "missing")


@pytest.mark.parametrize("name", LISTED_FILES)
def test_a_changed_file_is_named(make: Make, name: str) -> None:
    path = make().path / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    refused(path.parents[len(Path(name).parts) - 1], "hash_mismatch", path.name, "seal")


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b"", "not valid JSON"),
        (b"{", "not valid JSON"),
        (b"[1]", "holds a list"),
        (b'{"a": NaN}', "NaN is no JSON number"),
        (b"\xff\xfe\x00", "not valid JSON"),
        (b"[" * 100_000, "not valid JSON"),
        (b" " * (5 << 20), "at most"),
        (b"{}", "not a MedAttn bundle"),
    ],
)
def test_metadata_that_is_not(make: Make, content: bytes, word: str) -> None:
    path = make().path
    (path / METADATA).write_bytes(content)
    refused(path, "bad_bundle", "metadata.json", word)


# ---------------------------------------------------------------- from the future, or not fitting together


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            setting("medattn", "network", "encoder_options", value={"widths": [8192] * 4, "blocks": [8192] * 4}),
            ("encoder_options", "sizes and names are accepted"),
        ),
        (
            setting("medattn", "network", "encoder_options", value={"block_config": [600, -600, 1, 1]}),
            ("encoder_options", "sizes and names are accepted"),
        ),
        (setting("medattn", "format", value=3), ("format 3", "newer MedAttn", "update")),
        (setting("medattn", "format", value="1"), ("medattn.format is '1'",)),
        (setting("medattn", "format", value=True), ("medattn.format is True",)),
        (setting("schema", value="https://example.org/meta_schema_20991231.json"), ("20991231", "newer", "update")),
        (setting("schema", value=ABSENT), ("'schema' names no MONAI schema",)),
        (setting("version", value=ABSENT), ("version None",)),
        (setting("version", value="1.0/../.."), ("version '1.0/../..'",)),
        (setting("name", value="../lumps"), ("name '../lumps'",)),
        (setting("medattn", "task", value=ABSENT), ("no task specification",)),
        (setting("medattn", "task", "activation", value="softmax!"), ("activation 'softmax!'", "accepted")),
        (setting("medattn", "task", "labels", value="abc"), ("labels is 'abc'",)),
        (setting("medattn", "task", "size", value=["x"]), ("must be whole numbers",)),
        (setting("medattn", "task", "spatial_dims", value="$import os"), ("spatial_dims $import os",)),
        (setting("medattn", "task", "surprise", value=1), ("surprise",)),
        (setting("medattn", "network", value=ABSENT), ("no network settings",)),
        (setting("medattn", "network", "_target_", value="os.system"), ("unknown network settings ['_target_']",)),
        (setting("medattn", "network", "out_channels", value=4), ("out_channels is 4, the task needs 3",)),
        (setting("medattn", "network", "in_channels", value=2), ("in_channels is 2, the task needs 1",)),
        (setting("medattn", "network", "spatial_dims", value=3), ("spatial_dims is 3, the task needs 2",)),
        (setting("medattn", "network", "slicewise", value=False), ("disagree about slicewise",)),
        (setting("medattn", "network", "evidence_stride", value="8"), ("evidence_stride is '8'",)),
        (setting("medattn", "task", "size", value=[100, 100]), ("no multiple of the evidence stride 8",)),
        (setting("medattn", "network", "encoder_options", value={"pretrained": True}), ("no 'pretrained'",)),
        (setting("medattn", "network", "encoder_options", value={"widths": [10**9]}), ("encoder_options",)),
        (setting("medattn", "calibration", value=[]), ("calibration is no object",)),
        (setting("medattn", "files", value=ABSENT), ("no list of files",)),
        (setting("medattn", "files", "LICENSE", value=ABSENT), ("does not list LICENSE",)),
    ],
)
def test_metadata_that_does_not_fit(
    make: Make, edit: Edit, change: Callable[[dict[str, Any]], None], words: tuple[str, ...]
) -> None:
    bundle = make()
    edit(bundle, change)
    refused(bundle.path, "bad_bundle", "metadata.json", *words)


# ---------------------------------------------------------------- hostile


@pytest.mark.parametrize(
    "name",
    ["../secret.txt", "/etc/hostname", "docs/../../secret.txt", "docs\\..\\x", "C:/x", "", ".", "docs//README.md"],
)
def test_a_manifest_that_leaves_the_folder(make: Make, edit: Edit, tmp_path: Path, name: str) -> None:
    (tmp_path / "secret.txt").write_text("secret")
    bundle = make()
    edit(bundle, setting("medattn", "files", name, value="0" * 64))
    refused(bundle.path, "bad_bundle", repr(name), "no plain path inside the bundle")


@pytest.mark.skipif(not hasattr(os, "symlink") or os.name == "nt", reason="needs symbolic links")
def test_links_are_refused_even_to_the_right_bytes(make: Make, tmp_path: Path) -> None:
    bundle = make()
    shutil.move(bundle.path / "models", tmp_path / "elsewhere")
    (bundle.path / "models").symlink_to(tmp_path / "elsewhere")
    refused(bundle.path, "bad_bundle", "models is a symbolic link")
    (bundle.path / "models").unlink()
    shutil.copytree(tmp_path / "elsewhere", bundle.path / "models")
    (bundle.path / METADATA).rename(tmp_path / "metadata.json")
    (bundle.path / METADATA).symlink_to(tmp_path / "metadata.json")
    refused(bundle.path, "bad_bundle", "metadata.json is a symbolic link")


def test_expressions_in_any_file_are_text(make: Make, edit: Edit, tmp_path: Path) -> None:
    """MONAI would evaluate '$...'; here it stays what it is."""
    mark = tmp_path / "ran"
    bundle = make(description=f"$__import__('pathlib').Path({str(mark)!r}).touch()")
    assert load(bundle.path).description.startswith("$__import__")
    assert not mark.exists()


def test_an_empty_name_is_not_the_current_folder(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(make(tmp_path / "model").path)
    assert load(".").path.resolve() == (tmp_path / "model").resolve()
    refused("", "unknown_bundle", "the name of the bundle is empty")
