"""Archives of bundles: what leads out of them, swells or is cut off is refused and leaves nothing."""

from __future__ import annotations

import io
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from medattn_core.errors import BundleError, MedAttnError
from medattn_core.interop import archive, opened, unpack, verify
from tests.interop.conftest import Exports, untouched


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


def test_what_macos_packs_beside_a_bundle_is_no_second_folder(exports: Exports, tmp_path: Path) -> None:
    bundle = exports("blobs")

    def finder(file: zipfile.ZipFile) -> None:
        for name in ("__MACOSX/bundle/._LICENSE", "__MACOSX/._bundle", ".Trashes/x", ".DS_Store", "bundle/.DS_Store"):
            file.writestr(name, "x")

    path = zipped(bundle.path, tmp_path / "a.zip", extra=finder)
    with opened(path) as root:
        assert (root / "models/model.pt").read_bytes() == bundle.weights_path.read_bytes()
    report = verify(path)
    assert report.good, report.lines()


def test_two_folders_are_no_bundle(exports: Exports, tmp_path: Path) -> None:
    path = zipped(exports("blobs").path, tmp_path / "a.zip", extra=lambda file: file.writestr("other/x", "x"))
    with pytest.raises(BundleError, match="so it is no bundle"):
        unpack(path, tmp_path / "out")


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
