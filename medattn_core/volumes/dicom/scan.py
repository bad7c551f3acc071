"""All series behind a path: every header read once, files grouped by SeriesInstanceUID."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from medattn_core.errors import Notice, VolumeError
from medattn_core.volumes.dicom.archive import Member, is_zip, zip_members
from medattn_core.volumes.dicom.header import Broken, ImageFile, NotAnImage, begins_like_dicom, read_header
from medattn_core.volumes.dicom.members import Found, find
from medattn_core.volumes.dicom.pydicom_door import pydicom, quiet
from medattn_core.volumes.dicom.stack import depth
from medattn_core.volumes.dicom.wording import LISTED, listed
from medattn_core.volumes.volume import Series


@dataclass
class FoundSeries:
    """The image files of one series.

    Attributes:
        files: in order of their names.
    """

    files: list[ImageFile] = field(default_factory=list)

    @property
    def identity(self) -> Series:
        """UIDs, modality and number of slices."""
        first = self.files[0]
        return Series(
            series_instance_uid=first.series_uid,
            study_instance_uid=first.study_uid,
            modality=first.modality,
            number=first.number,
            slices=sum(max(1, len(file.frames)) for file in self.files),
        )

    @property
    def depth(self) -> int:
        """Slices of the volume it would give: what decides which series is the scan."""
        return depth(self.files)


@dataclass
class Scan:
    """What lies behind a path.

    Attributes:
        path: as given.
        series: the image series, the deepest volume first.
        notices: how the files were found, and which were left out.
    """

    path: Path
    series: list[FoundSeries]
    notices: list[Notice]


def scan(path: Path, keep: ExitStack) -> Scan:
    """Reads the headers of all DICOM files behind a file, folder, zip archive or DICOMDIR.

    Args:
        path: as typed.
        keep: closes the zip archives; until then the files found can be opened.

    Raises:
        VolumeError: as :func:`medattn_core.volumes.dicom.members.find`; ``missing_dependency``; where there is no image
            at all ``no_images`` or ``unsupported_dicom``, and for a single file ``not_an_image``, ``corrupt_file``,
            ``truncated_file``, ``unsupported_dicom``.
    """
    found = find(path, keep)
    pydicom()
    groups: dict[str, FoundSeries] = {}
    others: list[NotAnImage] = []
    broken: list[Broken] = []
    with quiet():
        for member in found.members:
            header = read_header(member)
            if isinstance(header, ImageFile):
                groups.setdefault(header.series_key, FoundSeries()).files.append(header)
            elif isinstance(header, NotAnImage):
                others.append(header)
            elif header is not None:
                broken.append(header)
    broken += _adopt(groups)
    if not groups:
        raise _nothing(path, found, others, broken)
    skipped = found.skipped + [item.text for item in broken]
    notices = list(found.notices)
    if skipped:
        notices.append(Notice("skipped_files", f"{path}: {len(skipped)} files were left out: {listed(skipped)}"))
    order = sorted(groups.values(), key=lambda s: (-s.depth, -s.identity.slices, s.identity.series_instance_uid))
    return Scan(path, order, notices)


def _adopt(groups: dict[str, FoundSeries]) -> list[Broken]:
    """Files cut off before or within their series' UID: a slice of the one series of that kind in their folder.

    Returns:
        those that cannot be given to a series. They no longer form one themselves, unless nothing else is there.
    """
    homeless = [key for key, found in groups.items() if all(f.problem and _cut(f, groups) for f in found.files)]
    if len(homeless) == len(groups):
        return []
    broken: list[Broken] = []
    for file in [file for key in homeless for file in groups.pop(key).files]:
        homes = [
            found
            for found in groups.values()
            if any(f.member.folder == file.member.folder and f.sop_class == file.sop_class for f in found.files)
        ]
        if len(homes) == 1:
            homes[0].files.append(file)
        else:
            broken.append(Broken(file.member, *(file.problem or ("corrupt_file", file.member.name))))
    return broken


def _cut(file: ImageFile, groups: dict[str, FoundSeries]) -> bool:
    """Whether the UID is absent, or the beginning of another's."""
    uid = file.series_uid
    return any(
        other != file.series_key and found.files[0].series_uid.startswith(uid) for other, found in groups.items()
    )


def _nothing(path: Path, found: Found, others: list[NotAnImage], broken: list[Broken]) -> VolumeError:
    """The error for a path without a single image."""
    kinds = sorted({item.kind for item in others if not item.directory})
    if found.single:
        if broken:
            return VolumeError(broken[0].code, broken[0].text)
        if kinds:
            return VolumeError(
                "unsupported_dicom",
                f"{path}: a DICOM object that is not an image ({kinds[0]}); give the images it belongs to"
                f"{_as_mask(kinds)}",
            )
        return VolumeError("not_an_image", f"{path}: not a DICOM file; give a DICOM image, or the folder that holds it")
    if kinds:
        return VolumeError(
            "unsupported_dicom",
            f"{path}: holds DICOM objects but no image ({', '.join(kinds[:LISTED])}); give the images they belong to"
            f"{_as_mask(kinds)}",
        )
    skipped = found.skipped + [item.text for item in broken]
    if skipped:
        code = "unreadable" if all(item.code == "unreadable" for item in broken) else "no_images"
        return VolumeError(code, f"{path}: no readable DICOM image; {listed(skipped)}")
    return VolumeError(
        "no_images", f"{path}: {len(found.members)} files and no DICOM image among them; give the folder of the scan"
    )


def _as_mask(kinds: list[str]) -> str:
    """What to do with objects that outline a finding, which were meant as a mask maybe."""
    if not any("Segmentation" in kind or "Structure Set" in kind for kind in kinds):
        return ""
    return "; as a mask, convert it first: masks are NIfTI, NRRD, MetaImage or PNG files"


def looks_like_dicom(path: Path) -> bool:
    """Whether a file is DICOM, or a folder or archive holds a DICOM file. Reads first bytes only; never raises."""
    with ExitStack() as keep:
        try:
            if path.is_dir():
                members = find(path, keep).members
            elif is_zip(path):
                members = zip_members(path, str(path), keep)
            else:
                with open(path, "rb") as file:
                    return begins_like_dicom(file.read(132))
        except (OSError, VolumeError):
            return False
        return any(_begins_like_dicom(member) for member in members)


def _begins_like_dicom(member: Member) -> bool:
    try:
        with member.open() as file:
            return begins_like_dicom(file.read(132))
    except Exception:  # an unreadable file or damaged entry is no sign of DICOM; the reader will name it
        return False
