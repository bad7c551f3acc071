"""Every error and warning a user can meet, with its code.

An error stops one input; a :class:`Notice` accompanies a result. Both carry a code from :data:`CODES`, so that a
table of ten thousand results can be filtered by it, and a message that says what is wrong, with which file or
argument, what is accepted and what to do. Messages name files, never patients.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

CODES: dict[str, str] = {
    # --- reading: errors
    "not_found": "the file or folder does not exist",
    "unreadable": "the file or folder cannot be read: permission denied, or a disk error",
    "empty_file": "the file is empty",
    "not_an_image": "the file is not an image in any supported format",
    "wrong_extension": "the content is an image in a different format from what the file name says",
    "truncated_file": "the file ends before its voxels do",
    "corrupt_file": "the file is damaged: its content contradicts itself",
    "oversized_header": "the header declares more voxels than the file can hold or memory allows",
    "too_many_dimensions": "the image has more than three dimensions",
    "colour_image": "the image is in colour; scans are not",
    "non_finite_voxels": "the image holds NaN or infinite voxels",
    "constant_image": "every voxel has the same value",
    "singular_affine": "the geometry cannot be inverted (zero spacing or dependent axes)",
    "missing_codec": "the compressed transfer syntax has no installed decoder",
    "missing_dependency": "an optional package is needed for this",
    "no_images": "the folder or archive holds no readable image",
    "several_images": "the folder or archive holds several images; name one of them",
    "no_such_series": "the requested series was not found",
    "unsafe_archive": "the archive would write outside its folder, is encrypted, or unpacks to an unreasonable size",
    "incomplete_geometry": "slices without position or orientation cannot be placed in space",
    "unsupported_storage": "the voxels are of an unsupported type or storage (complex numbers, several data files)",
    "inconsistent_slices": "slices of one series differ in size, orientation or spacing",
    "unsupported_dicom": "the DICOM object is not an image of voxels (report, segmentation, waveform)",
    "wrong_modality": "the modality is not one the task takes",
    "channel_elsewhere": "a further channel does not cover the same place as the first",
    "unwritable": "the output cannot be written",
    # --- reading: warnings
    "gantry_tilt": "slices are sheared against the slice axis (CT gantry tilt)",
    "missing_slices": "the series has gaps where slices are missing",
    "irregular_gaps": "the distance between slices varies",
    "duplicate_positions": "several slices have the same position",
    "localizer_excluded": "localizer images were left out of the series",
    "no_sop_class": "files without a SOPClassUID were treated as images",
    "dicomdir": "the series was found through a DICOMDIR",
    "multi_frame": "the volume comes from one multi-frame file",
    "other_series": "the folder holds other series; one was chosen",
    "other_studies": "the folder holds other studies, possibly of other patients; one was read",
    "skipped_files": "files that are not part of the image were left out",
    "non_finite_replaced": "a few NaN or infinite voxels were replaced",
    "grey_in_rgb": "a grey image stored as RGB was read as grey",
    "turned": "a picture was rotated as its EXIF orientation says",
    "sheared_affine": "the axes are not at right angles",
    "sform_qform_differ": "the two geometries of the NIfTI header disagree",
    "no_geometry": "the header states no orientation, or no geometry at all; left and right are assumed",
    "one_slice": "the volume has a single slice",
    "unknown_spacing": "the image states no pixel size; the model's field of view is assumed",
    "unknown_modality": "the input does not state its modality",
    "singleton_dimensions": "dimensions of length one were dropped",
    # --- tasks, bundles, masks, prediction
    "bad_task": "the task specification is invalid",
    "bad_bundle": "the bundle is incomplete or invalid",
    "unknown_bundle": "no shipped bundle or folder of that name",
    "hash_mismatch": "a bundle file does not match the hash in its manifest",
    "untrusted": "a foreign bundle would run its own code and was not trusted",
    "weights_mismatch": "the weights do not fit the network of the bundle",
    "bad_datalist": "the data list is invalid",
    "bad_config": "a training setting is invalid",
    "bad_mask": "the mask cannot be used with this image",
    "odd_mask": "the mask of a data list looks like a scan, or covers nearly all of its scan",
    "mask_geometry": "the mask of a data list probably lies away from where it was drawn: its geometry looks wrong",
    "empty_mask": "the mask selects nothing in the image",
    "unknown_label": "this task has no label of that name",
    "non_finite_logits": "the network returned NaN or infinite logits",
    "too_large": "the input is too large for this model or machine",
    "bad_argument": "an argument is invalid",
    "masked": "attention was restricted to a region of interest",
    "small_mask": "the mask covers no evidence cell by half; the cells it covers best are used",
    "soft_mask": "the mask holds fractions, which count as part of it, or values below zero or faint JPEG noise, which "
    "do not",
    "upsampled": "the input is much coarser than the model's grid",
    "cropped": "the input is larger than the model's field of view and was cropped",
    "report_failed": "the pictures or the page of a result could not be made; its numbers are complete",
    "outside_evidence": "a large part of the evidence lies in the padding around the scan, where no map can show it",
    "below_threshold": "no label reaches the task's threshold",
    "abstained": "the model is not sure enough to decide, or not about every label, by its rule from validation data",
    "not_additive": "the map is Grad-CAM of a foreign bundle: its voxels do not sum to the score",
    "unlike_training": "the scan is unlike those the model was trained on",
    "whole_volume": "the model was evaluated on single slices only; how often it is right on whole volumes is unknown",
    "input_gone": "a file of the input no longer exists; the result is that of an earlier run",
    "other_run": "the output folder holds an unfinished batch of another bundle or with other options, results of "
    "another model, or scores of another model or list",
    "worker_lost": "the process or machine predicting the input was lost repeatedly, or a cluster lost all its nodes",
    "export_failed": "the network of a bundle cannot be written in the requested format",
    # --- data lists: warnings
    "unused_list": "a list with a name like `val` is not held out of training",
    "unread_list": "another list in the file cannot be read, so what it shares with the others is unknown",
    "shared_cases": "two lists in one file share images or patients",
    "shared_channels": "a further channel appears in several cases or lists",
    "lists_differ": "the list `validation` could not be held out of the list being checked",
    "joined_labels": "a label looks like several joined by a character other than the list separator",
    "few_cases": "a label has too few cases to learn from or to measure on",
    "no_patient": "no patients are named, so images of one patient may fall into several folds",
    "patient_spelling": "a patient is spelt in several ways",
    "empty_word": "a label or patient has a name that many programs write for an empty cell",
    "tiny_box": "a box is less than one pixel wide or high",
    "mask_and_box": "a case has both a mask and a box; the mask is used",
    "mask_outside": "the mask covers nothing of its scan; training does not use it",
    "box_outside": "the box extends beyond its picture, or covers nothing of it",
    "unread_box": "a column looks like a box but is not read as one",
    "mask_without_label": "a mask marks a finding where no label is true",
    "box_without_label": "a box marks a finding where no label is true",
    "one_label": "every case has the same label",
    "constant_value": "every case has the same value",
    "one_answer": "every case of a list not used for training has the same ground truth",
    "no_truth": "a list not used for training has no ground truth to measure against",
    "mixed_dimensions": "one list holds both pictures and volumes",
    # --- the worker
    "bad_request": "a message to the worker is not a request, or has an invalid field",
    "version_mismatch": "the worker's client speaks another version of the protocol",
    "no_prediction": "the requested prediction is no longer kept",
    "cancelled": "the request was cancelled",
    "internal": "an unexpected error in MedAttn",
}


def _check(code: str) -> str:
    if code not in CODES:
        raise KeyError(f"{code!r} is not a code of medattn_core.errors.CODES")
    return code


class MedAttnError(Exception):
    """Base of all errors a user can meet.

    Args:
        code: one of :data:`CODES`.
        message: what is wrong, with which file or argument, what is accepted, what to do. One line.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = _check(code)
        self.message = message

    def __reduce__(self) -> tuple[type, tuple[str, str]]:
        return type(self), (self.code, self.message)


class VolumeError(MedAttnError):
    """An image cannot be read, written or used."""


class TaskError(MedAttnError):
    """A task specification is invalid, or an argument does not fit the task."""


class BundleError(MedAttnError):
    """A bundle is missing, incomplete, damaged or unsafe."""


class DataListError(MedAttnError):
    """A data list is invalid."""


class TrainingError(MedAttnError):
    """A training setting or state is invalid."""


class PredictionError(MedAttnError):
    """A prediction or a question to a prediction is impossible."""


@dataclass(frozen=True)
class Notice:
    """A warning that accompanies a result.

    Attributes:
        code: one of :data:`CODES`.
        message: one line, for a person.
    """

    code: str
    message: str

    def __post_init__(self) -> None:
        _check(self.code)

    def __str__(self) -> str:
        return f"[{self.code}] {self.message}"

    def to_dict(self) -> dict[str, str]:
        """``{"code", "message"}``, as in predictions.json."""
        return {"code": self.code, "message": self.message}


def missing_package(
    what: str,
    packages: Sequence[str],
    *,
    extra: str | None = None,
    otherwise: str = "",
    kind: type[MedAttnError] = MedAttnError,
) -> MedAttnError:
    """The error where optional packages are not installed.

    Args:
        what: needs them.
        packages: that are missing, as pip calls them where there is no extra.
        extra: of this package that brings them; without one they are installed by themselves.
        otherwise: what can be done without them, after a comma.
        kind: of the error.
    """
    # In double quotes, which the command lines of Windows know, too.
    install = " ".join(packages) if extra is None else f'"medattn[{extra}]"'
    instead = f", {otherwise}" if otherwise else ""
    return kind("missing_dependency", f"{what} needs {', '.join(packages)}: pip install {install}{instead}")


@contextmanager
def within_memory(message: str) -> Iterator[None]:
    """What runs within it fits into memory, or is an error with a code: torch says so in a RuntimeError.

    Args:
        message: of the error: what is too large, and what to do.

    Raises:
        VolumeError: ``too_large``.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if "memory" not in str(error).lower() and not isinstance(error, MemoryError):
            raise
        raise VolumeError("too_large", message) from error


def known_error(
    error: BaseException,
    where: object = None,
    *,
    memory: str = "close other programs or use a larger machine",
    trace: str = "run again with --verbose for the trace",
) -> MedAttnError:
    """Any error as one with a code. Foreign messages are not repeated: they may quote a header, and so a patient.

    Args:
        error: what was raised.
        where: file or request that it is of, for the message.
        memory: what to do where memory was too little.
        trace: how to see the trace of an unexpected error.
    """
    if isinstance(error, MedAttnError):
        return error
    place = f"{where}: " if where is not None else ""
    if isinstance(error, MemoryError):
        return MedAttnError("too_large", f"{place}not enough memory; {memory}")
    return MedAttnError("internal", f"{place}unexpected {type(error).__name__}; {trace}")


TRACES = "medattn_core.traces"
"""The logger of :func:`log_trace`, at level warning."""
# Else Python itself prints on stderr what no handler takes (`logging.lastResort`).
logging.getLogger(TRACES).addHandler(logging.NullHandler())


def log_trace(error: BaseException, what: str = "unexpected error") -> None:
    """Log the trace of a foreign error, whose text may quote a header, for those who ask for it.

    That is ``--verbose`` and programs that set up :mod:`logging` themselves; nobody else hears of it.

    Args:
        error: what was raised.
        what: the message above the trace.
    """
    logging.getLogger(TRACES).warning(what, exc_info=error)
