"""What hostile and broken bundles meet: a message of its own each, nothing run, nothing written outside the folder."""

from __future__ import annotations

import hashlib
import io
import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from medattn_core.bundles import Bundle
from medattn_core.bundles.bundle import METADATA
from medattn_core.errors import BundleError
from medattn_core.interop import open_predictor, verify
from medattn_core.interop.report import FAILED, Report
from tests.checks import ABSENT, setting
from tests.interop.conftest import Exports, untouched

MARK = "it_ran"
CODE = f"$__import__('os').mkdir('{MARK}')"


class Hostile:
    """Makes a folder when unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (MARK,)


@pytest.fixture
def copy(exports: Exports, tmp_path: Path) -> Path:
    """An exported, self-contained bundle to be spoilt."""
    shutil.copytree(exports("blobs", self_contained=True).path, tmp_path / "bundle")
    return tmp_path / "bundle"


def edit(root: Path, name: str, change: Callable[[dict[str, Any]], None]) -> None:
    """Change a JSON file, with its hash in the manifest: the hostile know how to hash."""
    data = json.loads((root / name).read_text(encoding="utf-8"))
    change(data)
    put(root, name, json.dumps(data).encode())


def put(root: Path, name: str, content: bytes) -> None:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_bytes(content)
    if name != METADATA:
        digest = hashlib.sha256(content).hexdigest()
        edit(root, METADATA, lambda data: data["medattn"]["files"].update({name: digest}))


def weights(root: Path) -> dict[str, torch.Tensor]:
    return dict(torch.load(root / "models" / "model.pt", weights_only=True))


def saved(content: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def failures(report: Report) -> dict[str, Any]:
    return {check.name: check for check in report.checks if check.status == FAILED}


def first_weight(root: Path, value: float) -> bytes:
    state = weights(root)
    name = next(name for name, tensor in state.items() if tensor.is_floating_point() and tensor.numel() > 1)
    state[name] = state[name].clone()
    state[name].view(-1)[0] = value
    return saved(state)


def truncate(root: Path) -> None:
    content = (root / "models" / "model.pt").read_bytes()
    put(root, "models/model.pt", content[: len(content) // 2])


def link(root: Path) -> None:
    target = root / "docs" / "README.md"
    target.unlink()
    target.symlink_to("/etc/hostname")


def set_in(*keys: str, value: Any) -> Callable[[Path], None]:
    return lambda root: edit(root, METADATA, setting(*keys, value=value))


BROKEN: dict[str, tuple[Callable[[Path], Any], str, str, str]] = {
    # what is done to it, which check says no, its code, words of its message
    "pickle in the weights": (
        lambda r: put(r, "models/model.pt", saved({**weights(r), "x": Hostile()})),
        "weights", "bad_bundle", "more than tensors, possibly code, which was not run",
    ),
    "bare pickle for weights": (
        lambda r: put(r, "models/model.pt", pickle.dumps(Hostile())),
        "weights", "bad_bundle", "no PyTorch weights file",
    ),
    "truncated weights": (truncate, "weights", "bad_bundle", "truncated"),
    "NaN weights": (
        lambda r: put(r, "models/model.pt", first_weight(r, float("nan"))),
        "weights", "bad_bundle", "NaN or infinite weights",
    ),
    "weights of another network": (
        lambda r: put(r, "models/model.pt", saved({"other.weight": torch.zeros(2)})),
        "weights", "weights_mismatch", "do not fit the network",
    ),
    "no weights": (
        lambda r: (r / "models" / "model.pt").unlink(), "hashes", "bad_bundle", "models/model.pt is missing",
    ),
    "wrong hash": (
        lambda r: (r / "docs" / "README.md").write_text("other"),
        "hashes", "hash_mismatch", "is not the file that the bundle was made with",
    ),
    "manifest leaves the folder": (
        set_in("medattn", "files", "../../secret.txt", value="0" * 64),
        "hashes", "bad_bundle", "no plain path inside the bundle",
    ),
    "symbolic link": (link, "hashes", "bad_bundle", "is a symbolic link"),
    "version from the future": (
        set_in("medattn", "format", value=99), "hashes", "bad_bundle", "made by a newer MedAttn",
    ),
    "schema from the future": (
        set_in("schema", value="https://example.org/meta_schema_20991231.json"),
        "hashes", "bad_bundle", "20991231 is newer",
    ),
    "schema error, a key missing": (set_in("authors", value=ABSENT), "metadata", "", "authors is missing"),
    "schema error, a wrong type": (set_in("monai_version", value=1.6), "metadata", "", "monai_version is 1.6; a text"),
    "changelog without the version": (set_in("changelog", value={}), "metadata", "", "no entry for version"),
    "wrong channel count in the network": (
        set_in("medattn", "network", "in_channels", value=3),
        "hashes", "bad_bundle", "network in_channels is 3, the task needs 1",
    ),
    "wrong channel count in the metadata": (
        set_in("network_data_format", "outputs", "pred", "num_channels", value=5),
        "network in and out", "bad_bundle", "5 out, the task has 1 and 2",
    ),
    "code in the training record": (
        set_in("medattn", "training", "epochs", value=CODE),
        "configurations", "bad_bundle", "would be evaluated by MONAI; it was not",
    ),
    "a class to be called in the network settings": (
        set_in("medattn", "network", "encoder_options", value={"_target_": "os.mkdir", "name": MARK}),
        "configurations", "bad_bundle", "'_target_' under medattn.network would be evaluated",
    ),
    "settings of a monster": (
        set_in("medattn", "network", "width", value=8192),
        "weights", "weights_mismatch", "of another shape",
    ),
    "configuration that is no JSON": (
        lambda r: put(r, "configs/inference.json", b"{"), "configurations", "bad_bundle", "not valid JSON",
    ),
    "metadata that is no object": (lambda r: (r / METADATA).write_text("[]"), "bundle", "bad_bundle", "holds a list"),
    "ensemble with a member too many": (
        lambda r: (set_in("medattn", "members", value=3)(r), set_in("medattn", "stacked", value=True)(r)),
        "weights", "weights_mismatch", "belongs to no member of an ensemble of 3",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_bundle_is_refused_in_its_own_words(copy: Path, place: Path, case: str) -> None:
    spoil, check, code, words = BROKEN[case]
    (copy.parent / "secret.txt").write_text("secret")
    spoil(copy)
    report = verify(copy)
    failed = failures(report)
    assert not report.good
    assert check in failed, report.lines()
    assert words in failed[check].detail
    assert (failed[check].code or "") == code
    assert "\n" not in failed[check].detail
    untouched(place)


def test_every_broken_bundle_has_words_of_its_own() -> None:
    assert len({words for *_, words in BROKEN.values()}) == len(BROKEN) >= 20


RUNNING: dict[str, Callable[[Path], Any]] = {
    "expression in inference.json": lambda r: edit(r, "configs/inference.json", lambda d: d.update(initialize=[CODE])),
    "call in inference.json": lambda r: edit(
        r, "configs/inference.json", lambda d: d.update(network_def={"_target_": "os.mkdir", "path": MARK})
    ),
    "import in inference.json": lambda r: edit(
        r, "configs/inference.json", lambda d: d["imports"].append("$import this")
    ),
    "changed script": lambda r: put(
        r, "scripts/tasks.py", b"import os\nos.mkdir('it_ran')\n" + (r / "scripts/tasks.py").read_bytes()
    ),
    "script more": lambda r: put(r, "scripts/sitecustomize.py", b"import os\nos.mkdir('it_ran')\n"),
    "logging.conf with a class": lambda r: put(
        r, "configs/logging.conf", b"[handlers]\nkeys=x\n[handler_x]\nclass=__import__('os').mkdir('it_ran')\nargs=()\n"
    ),
    "YAML configuration": lambda r: put(r, "configs/inference.yaml", f"run: ['{CODE}']\n".encode()),
    "expression in the metadata": lambda r: edit(r, METADATA, lambda d: d.update(description=CODE)),
}


@pytest.mark.parametrize("case", RUNNING)
def test_what_would_run_is_named_and_not_run(copy: Path, place: Path, case: str) -> None:
    """Without trust MONAI gets nothing of such a bundle to evaluate; prediction from data still works."""
    RUNNING[case](copy)
    report = verify(copy)
    checks = {check.name: check for check in report.checks}
    assert checks["configurations"].status == "skipped"
    assert "would run as code, none was run" in checks["configurations"].detail
    assert checks["inference.json"].status == "skipped"
    assert "--trust" in checks["inference.json"].detail
    assert checks["prediction"].status == "passed"
    untouched(place)


def test_with_trust_it_runs(copy: Path, tmp_path: Path) -> None:
    """The same expression: what was not run above is what runs here, so the test above can fail."""
    mark = tmp_path / "ran"
    code = f"$__import__('os').mkdir({str(mark)!r})"
    edit(copy, "configs/inference.json", lambda d: d["initialize"].append(code))
    assert not mark.exists()
    report = verify(copy, trust=True)
    assert report.good, report.lines()
    assert mark.exists()


def test_torchscript_of_a_stranger_is_not_loaded_without_trust(copy: Path, place: Path) -> None:
    put(copy, "models/model.ts", b"no script at all")
    RUNNING["expression in inference.json"](copy)  # so that the example is not run either, which takes a while
    checks = {check.name: check for check in verify(copy).checks}
    assert checks["torchscript"].status == "skipped"
    assert "can run code" in checks["torchscript"].detail


def test_an_untrusted_foreign_bundle_is_not_run(place: Path, tmp_path: Path) -> None:
    root = tmp_path / "foreign"
    for name in ("configs", "models", "scripts"):
        (root / name).mkdir(parents=True)
    (root / METADATA).write_text(json.dumps({"version": "1", "description": CODE}))
    (root / "configs/inference.json").write_text(json.dumps({"network_def": CODE, "preprocessing": CODE}))
    (root / "scripts/__init__.py").write_text("import os\nos.mkdir('it_ran')\n")
    with pytest.raises(BundleError, match="predicting with it runs its code") as caught:
        open_predictor(root)
    assert caught.value.code == "untrusted"
    untouched(place)


def test_onnx_that_keeps_weights_elsewhere_is_not_followed(copy: Path, place: Path) -> None:
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Identity", ["w"], ["logits"])], "g",
        [onnx.helper.make_tensor_value_info("image", 1, None)],
        [onnx.helper.make_tensor_value_info("logits", 1, [1])],
        [onnx.TensorProto(name="w", data_type=1, dims=[1], data_location=1,
                          external_data=[onnx.StringStringEntryProto(key="location", value="../../secret.txt")])],
    )  # fmt: skip
    RUNNING["expression in inference.json"](copy)
    put(copy, "models/model.onnx", onnx.helper.make_model(graph).SerializeToString())
    failed = failures(verify(copy))
    assert "keeps w in another file, which is not opened" in failed["onnx"].detail


def test_bundles_of_others_open_as_data(originals: dict[str, Bundle], place: Path) -> None:
    """A MedAttn bundle needs no trust to predict, wherever it lies."""
    assert open_predictor(originals["blobs"].path, device="cpu").task.labels == ("bright", "dark")
