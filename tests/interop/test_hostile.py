"""What hostile and broken bundles meet: a message of its own each, nothing run, nothing written outside the folder."""

from __future__ import annotations

import hashlib
import io
import json
import os
import pickle
import shutil
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from medattn_core.bundles import Bundle
from medattn_core.bundles.bundle import METADATA
from medattn_core.errors import BundleError, MedAttnError
from medattn_core.interop import archive, open_predictor, opened, unpack, verify
from medattn_core.interop.report import FAILED, Report
from tests.interop.conftest import Exports

MARK = "it_ran"
CODE = f"$__import__('os').mkdir('{MARK}')"


class Hostile:
    """Makes a folder when unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (MARK,)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory in which code of a bundle would leave its mark."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


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


def untouched(place: Path) -> None:
    assert list(place.iterdir()) == [], "something of the bundle ran, or was written beside it"


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
    def change(data: dict[str, Any]) -> None:
        for key in keys[:-1]:
            data = data[key]
        if value is ...:
            del data[keys[-1]]
        else:
            data[keys[-1]] = value

    return lambda root: edit(root, METADATA, change)


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
    "schema error, a key missing": (set_in("authors", value=...), "metadata", "", "authors is missing"),
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


# ---------------------------------------------------------------- archives


def zipped(folder: Path, path: Path, *, extra: Callable[[zipfile.ZipFile], None] = lambda _: None) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for entry in sorted(folder.rglob("*")):
            if entry.is_file():
                file.write(entry, f"bundle/{entry.relative_to(folder).as_posix()}")
        extra(file)
    return path


def zip_link(file: zipfile.ZipFile) -> None:
    info = zipfile.ZipInfo("bundle/models/link")
    info.external_attr = 0o120777 << 16
    file.writestr(info, "/etc/hostname")


def tarred(folder: Path, path: Path, member: tarfile.TarInfo | None = None) -> Path:
    with tarfile.open(path, "w:gz") as file:
        file.add(folder, "bundle")
        if member is not None:
            file.addfile(member, io.BytesIO(b"x" * member.size))
    return path


def info(name: str, **fields: Any) -> tarfile.TarInfo:
    found = tarfile.TarInfo(name)
    for key, value in fields.items():
        setattr(found, key, value)
    return found


ARCHIVES: dict[str, tuple[Callable[[Path, Path], Path], str, str]] = {
    "zip traversal": (
        lambda b, p: zipped(b, p / "a.zip", extra=lambda z: z.writestr("../outside.txt", "x")),
        "unsafe_archive", "leads out of the archive",
    ),
    "zip absolute": (
        lambda b, p: zipped(b, p / "a.zip", extra=lambda z: z.writestr("/tmp/outside.txt", "x")),
        "unsafe_archive", "'/tmp/outside.txt' leads out",
    ),
    "zip drive and backslash": (
        lambda b, p: zipped(b, p / "a.zip", extra=lambda z: z.writestr("C:outside.txt", "x")),
        "unsafe_archive", "'C:outside.txt' leads out",
    ),
    "zip symlink": (lambda b, p: zipped(b, p / "a.zip", extra=zip_link), "unsafe_archive", "is a symbolic link"),
    "zip bomb": (
        lambda b, p: zipped(b, p / "a.zip", extra=lambda z: z.writestr("bundle/zeros", b"\0" * 20_000_000)),
        "unsafe_archive", "times its size; 200 times is the limit",
    ),
    "zip name twice": (
        lambda b, p: zipped(b, p / "a.zip", extra=lambda z: z.writestr("bundle/LICENSE", "x")),
        "unsafe_archive", "is there twice",
    ),
    "tar traversal": (
        lambda b, p: tarred(b, p / "a.tar.gz", info("bundle/../../outside.txt", size=1)), "unsafe_archive", "leads out",
    ),
    "tar symlink": (
        lambda b, p: tarred(b, p / "a.tar.gz", info("bundle/l", type=tarfile.SYMTYPE, linkname="/etc/hostname")),
        "unsafe_archive", "'bundle/l' is a symbolic link",
    ),
    "tar hard link": (
        lambda b, p: tarred(b, p / "a.tar.gz", info("bundle/h", type=tarfile.LNKTYPE, linkname="bundle/LICENSE")),
        "unsafe_archive", "is a hard link",
    ),
    "tar device": (
        lambda b, p: tarred(b, p / "a.tar.gz", info("bundle/d", type=tarfile.CHRTYPE)),
        "unsafe_archive", "is a device or pipe",
    ),
    "tar bomb": (
        lambda b, p: bomb(p / "a.tar.gz"), "unsafe_archive", "unpacks to much more than its size",
    ),
    "cut off": (
        lambda b, p: cut(zipped(b, p / "a.zip")), "bad_bundle", "is a file, but no zip or tar archive",
    ),
    "damaged inside": (lambda b, p: damaged(zipped(b, p / "a.zip")), "bad_bundle", "the archive is damaged"),
    "no bundle inside": (
        lambda b, p: zipped(b / "docs", p / "a.zip"), "bad_bundle", "holds no configs/metadata.json",
    ),
}  # fmt: skip


def bomb(path: Path) -> Path:
    with tarfile.open(path, "w:gz") as file:
        file.addfile(info("bundle/zeros", size=50_000_000), io.BytesIO(b"\0" * 50_000_000))
    return path


def cut(path: Path) -> Path:
    path.write_bytes(path.read_bytes()[:-200])
    return path


def damaged(path: Path) -> Path:
    with zipfile.ZipFile(path) as file:
        entry = max(file.infolist(), key=lambda i: i.compress_size)
    content = bytearray(path.read_bytes())
    start = entry.header_offset + 200
    content[start : start + 400] = b"\x55" * 400
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("case", ARCHIVES)
def test_an_archive_is_refused_and_leaves_nothing(exports: Exports, place: Path, tmp_path: Path, case: str) -> None:
    make, code, words = ARCHIVES[case]
    path = make(exports("blobs").path, tmp_path)
    before = set(tmp_path.rglob("*"))
    with pytest.raises(BundleError) as caught:
        unpack(path, tmp_path / "out" / "bundle")
    assert caught.value.code == code
    assert words in caught.value.message
    assert "\n" not in caught.value.message
    assert set(tmp_path.rglob("*")) - before <= {tmp_path / "out"}
    untouched(place)
    report = verify(path)
    assert [check.code for check in report.checks] == [code]


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_a_good_archive_opens_as_the_folder_it_was(exports: Exports, tmp_path: Path, kind: str) -> None:
    bundle = exports("blobs")
    path = zipped(bundle.path, tmp_path / "a.zip") if kind == "zip" else tarred(bundle.path, tmp_path / "a.tgz")
    with opened(path) as root:
        assert root.name == "bundle"
        names = {p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file()}
        assert names == {p.relative_to(bundle.path).as_posix() for p in bundle.path.rglob("*") if p.is_file()}
        assert (root / "models/model.pt").read_bytes() == bundle.weights_path.read_bytes()
    assert not root.exists()
    with pytest.raises(MedAttnError, match="exists"):
        unpack(path, tmp_path)


def test_limits_hold_whatever_the_archive_says(
    exports: Exports, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = zipped(exports("blobs").path, tmp_path / "a.zip")
    for limit, words in (("MAX_ENTRIES", "more than 3 entries"), ("MAX_FILE", "GiB a file"), ("MAX_TOTAL", "GB")):
        with monkeypatch.context() as patch:
            patch.setattr(archive, limit, 3)
            with pytest.raises(BundleError, match=words) as caught:
                unpack(path, tmp_path / "out")
            assert caught.value.code == "unsafe_archive"
    assert not (tmp_path / "out").exists()


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
