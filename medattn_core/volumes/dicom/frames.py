"""Frames: position, orientation, pixel size and rescale of one slice, in a single-frame file or in functional groups.

Functional groups are those of the enhanced and legacy-converted multi-frame objects (DICOM PS3.3, C.7.6.16).
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any

FRAME_TAGS = [
    "Rows",
    "Columns",
    "NumberOfFrames",
    "ImageType",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
    "ImagerPixelSpacing",
    "NominalScannedPixelSpacing",
    "PixelAspectRatio",
    "SliceThickness",
    "RescaleSlope",
    "RescaleIntercept",
    "RealWorldValueMappingSequence",
    "EchoTime",
    "TemporalPositionIdentifier",
    "TemporalPositionIndex",
    "DiffusionBValue",
    "TriggerTime",
    "AcquisitionNumber",
    "AcquisitionTime",
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
]

Key = tuple[float | str, ...]

_PROJECTIONS = {"PROJECTIONIMAGE", "MIP", "MAXIP", "MINIP", "VOLUMERENDER", "SURFACERENDER"}
"""Values of ImageType, without spaces and signs, of pictures that look through the volume (PS3.3, C.8.3.1.1.1)."""


@dataclass(frozen=True)
class Frame:
    """One slice, as its header describes it.

    Attributes:
        index: which frame of its file.
        position: ImagePositionPatient, LPS mm, centre of the first pixel; None where absent.
        orientation: ImageOrientationPatient: direction of a row, then of a column; None where absent.
        spacing: mm between rows, between columns; None where absent or unusable.
        unusable_spacing: whether a PixelSpacing is there that is not two positive numbers.
        aspect: height and width of a pixel to each other (PixelAspectRatio), where no spacing is known; else None.
        detector_spacing: whether ``spacing`` is that at the detector (ImagerPixelSpacing).
        thickness: SliceThickness, mm; used for a single slice alone.
        slope, intercept: to output units.
        image_type: values of ImageType or FrameType.
        keys: what may tell apart images at one position, by attribute.
    """

    index: int
    position: tuple[float, ...] | None
    orientation: tuple[float, ...] | None
    spacing: tuple[float, ...] | None
    unusable_spacing: bool
    aspect: tuple[float, ...] | None
    detector_spacing: bool
    thickness: float | None
    slope: float
    intercept: float
    image_type: tuple[str, ...]
    keys: dict[str, Key]

    @property
    def localizer(self) -> bool:
        """Whether it is a scout image for planning."""
        return bool({"LOCALIZER", "SCOUT"} & {value.upper() for value in self.image_type})

    @property
    def projection(self) -> bool:
        """Whether it was computed by looking through the volume (MIP and the like), so that it is no slice of it."""
        return bool(_PROJECTIONS & {re.sub(r"[\W_]", "", value.upper()) for value in self.image_type})


def text_of(dataset: Any, keyword: str) -> str:
    """A value as text without padding, ``""`` where absent."""
    value = dataset.get(keyword)
    return "" if value is None else str(value).strip(" \0")


def first_int(dataset: Any, keyword: str) -> int | None:
    """The (first) value as a whole number, None where absent or not one."""
    values = _numbers(dataset, keyword)
    return int(values[0]) if values else None


def _numbers(dataset: Any, keyword: str) -> tuple[float, ...] | None:
    """Finite numbers of an attribute; None where absent, empty or unreadable."""
    try:
        value = dataset.get(keyword)
        if value is None or value == "":
            return None
        values = tuple(
            float(part) for part in ((value,) if isinstance(value, str) or not hasattr(value, "__iter__") else value)
        )
    except (TypeError, ValueError, OverflowError):
        return None
    return values if values and all(math.isfinite(part) for part in values) else None


def _stated(dataset: Any, keyword: str) -> bool:
    """Whether an attribute is there with a value, be it readable or not."""
    if keyword not in dataset:
        return False
    value = dataset.get_item(keyword).value  # as it lies in the file: a number that is none cannot be had otherwise
    return bool(value.strip(b" \0") if isinstance(value, bytes) else value)


def _exactly(values: tuple[float, ...] | None, count: int) -> tuple[float, ...] | None:
    return values if values is not None and len(values) == count else None


def _positive(values: tuple[float, ...] | None) -> tuple[float, ...] | None:
    return values if values is not None and len(values) == 2 and min(values) > 0 else None


class _Groups:
    """Attributes of one frame: in its own functional group, in the shared one, or at the top of the file."""

    def __init__(self, dataset: Any, shared: Any, own: Any) -> None:
        self.top, self.shared, self.own = dataset, shared, own

    def item(self, sequence: str) -> Any:
        """First item of a functional group's sequence; the top of the file where no group has it."""
        for group in (self.own, self.shared):
            items = group.get(sequence) if group is not None else None
            if items:
                return items[0]
        return self.top

    def numbers(self, sequence: str, keyword: str) -> tuple[float, ...] | None:
        return _numbers(self.item(sequence), keyword)


def frames_of(dataset: Any, count: int) -> tuple[Frame, ...]:
    """Frames of a header; fewer or more than ``count`` where the per-frame groups contradict NumberOfFrames."""
    per_frame = dataset.get("PerFrameFunctionalGroupsSequence") or []
    shared = dataset.get("SharedFunctionalGroupsSequence") or [None]
    if per_frame:
        return tuple(_frame(_Groups(dataset, shared[0], own), index) for index, own in enumerate(per_frame))
    if count == 1:
        return (_frame(_Groups(dataset, shared[0], None), 0),)
    # Several frames that nothing places one by one: the position of the first is not that of the others.
    single = _frame(_Groups(dataset, shared[0], None), 0)
    fields = {**vars(single), "position": None}
    return tuple(Frame(**{**fields, "index": index}) for index in range(count))


def _frame(groups: _Groups, index: int) -> Frame:
    measures = groups.item("PixelMeasuresSequence")
    spacing = _positive(_numbers(measures, "PixelSpacing"))
    unusable = spacing is None and _stated(measures, "PixelSpacing")
    detector = False
    if spacing is None:
        for keyword in ("ImagerPixelSpacing", "NominalScannedPixelSpacing"):
            spacing = spacing or _positive(_numbers(groups.top, keyword))
        detector = spacing is not None
    thickness = _numbers(measures, "SliceThickness")
    slope, intercept = _rescale(groups)
    position = groups.numbers("PlanePositionSequence", "ImagePositionPatient")
    orientation = groups.numbers("PlaneOrientationSequence", "ImageOrientationPatient")
    return Frame(
        index=index,
        position=_exactly(position, 3),
        orientation=_exactly(orientation, 6),
        spacing=spacing,
        unusable_spacing=unusable,
        aspect=_positive(_numbers(groups.top, "PixelAspectRatio")) if spacing is None else None,
        detector_spacing=detector,
        thickness=thickness[0] if thickness and thickness[0] > 0 else None,
        slope=slope,
        intercept=intercept,
        image_type=_image_type(groups),
        keys=_keys(groups),
    )


def _rescale(groups: _Groups) -> tuple[float, float]:
    """Slope and intercept: the modality rescale, else a single linear real-world value mapping, else one and zero."""
    transformation = groups.item("PixelValueTransformationSequence")
    slope = _numbers(transformation, "RescaleSlope")
    intercept = _numbers(transformation, "RescaleIntercept")
    if slope is None and intercept is None:
        mappings = [
            group.get("RealWorldValueMappingSequence") for group in (groups.own, groups.shared, groups.top) if group
        ]
        mapping = next((items for items in mappings if items), None)
        if mapping and len(mapping) == 1:
            slope = _numbers(mapping[0], "RealWorldValueSlope")
            intercept = _numbers(mapping[0], "RealWorldValueIntercept")
    # A slope of zero would wipe the image out; it is written by software that means "none".
    return (slope[0] if slope and slope[0] != 0 else 1.0), (intercept[0] if intercept else 0.0)


def _image_type(groups: _Groups) -> tuple[str, ...]:
    value = None
    for sequence in ("MRImageFrameTypeSequence", "CTImageFrameTypeSequence", "PETFrameTypeSequence"):
        item = groups.item(sequence)
        value = value or (item.get("FrameType") if item is not groups.top else None)
    value = value or groups.top.get("ImageType")
    if not value:
        return ()
    return (value,) if isinstance(value, str) else tuple(str(part) for part in value)


_KEY_SOURCES = (
    ("EchoTime", (("MREchoSequence", "EffectiveEchoTime"), ("", "EchoTime"))),
    ("TemporalPosition", (("FrameContentSequence", "TemporalPositionIndex"), ("", "TemporalPositionIdentifier"))),
    ("DiffusionBValue", (("MRDiffusionSequence", "DiffusionBValue"),)),
    (
        "TriggerTime",
        (("CardiacSynchronizationSequence", "NominalCardiacTriggerDelayTime"), ("", "TriggerTime")),
    ),
    ("AcquisitionNumber", (("FrameContentSequence", "FrameAcquisitionNumber"), ("", "AcquisitionNumber"))),
)


def _keys(groups: _Groups) -> dict[str, Key]:
    """Attributes that may tell apart images at one position, in the order in which they are tried."""
    keys: dict[str, Key] = {}
    for name, sources in _KEY_SOURCES:
        for sequence, keyword in sources:
            values = groups.numbers(sequence, keyword) if sequence else _numbers(groups.top, keyword)
            if values:
                keys[name] = values
                break
    keys["ImageType"] = _image_type(groups)
    time = text_of(groups.top, "AcquisitionTime")
    if time:
        keys["AcquisitionTime"] = (time,)
    return keys
