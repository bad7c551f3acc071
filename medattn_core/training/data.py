"""Cases to arrays on the model grid, once, before training."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from medattn_core.datalists import TRAINING_SECTION, Case, load, location_of
from medattn_core.datalists.file_checks import doubts
from medattn_core.datalists.mask_doubts import mask_doubts
from medattn_core.datalists.patients import people_of
from medattn_core.datalists.targets import targets_of
from medattn_core.errors import DataListError, Notice, TrainingError
from medattn_core.tasks import TaskSpec
from medattn_core.training.rows import Rows
from medattn_core.transforms.conform import conform
from medattn_core.transforms.grid import plan_grid
from medattn_core.transforms.statistics import image_statistics
from medattn_core.volumes import read
from medattn_core.volumes.masks import read_mask

LOOK_AT_FIRST = 5
"""Images after which a rule that leaves nothing of any of them is an error."""


@dataclass(frozen=True, kw_only=True)
class TrainingData:
    """A data list on the model grid.

    Attributes:
        images: ``(N, C, *spatial)`` float16. Of a subset, as :attr:`masks`, rows of the array of the whole.
        targets: ``(N, K)`` float32: one-hot or multi-hot labels, or values.
        masks: ``(N, *spatial)`` uint8, 255 inside the box or mask of the finding. Read only, and without memory of
            their own, where no case is located.
        located: ``(N,)`` whether the case has a box or mask.
        folds: ``(N,)``, -1 where the list names none.
        patients: ``(N,)`` number of the patient of each case.
        statistics: of each case, see :func:`medattn_core.transforms.statistics.image_statistics`.
        cropped: ``(N,)`` whether the model grid leaves out a part of the image.
        notices: file and warning of the reader, of the images of each case, where another scan may have been read.
        pictures: ``(N,)`` whether the image is a single slice.
        cases: of the list, from which :mod:`medattn_core.training.whole_images` reads an image again.
        task: of the model. Where its size is None prediction takes the whole image, and not that of :attr:`images`.
        complete: ``(N,)`` whether that of :attr:`images` is the whole one, and nothing else.
    """

    images: np.ndarray | Rows
    targets: np.ndarray
    masks: np.ndarray | Rows
    located: np.ndarray
    folds: np.ndarray
    patients: np.ndarray | None = None
    statistics: tuple[dict[str, float], ...] = ()
    cropped: np.ndarray | None = None
    notices: tuple[tuple[tuple[Path, Notice], ...], ...] = ()
    pictures: np.ndarray | None = None
    cases: tuple[Case, ...] = ()
    task: TaskSpec | None = None
    complete: np.ndarray | None = None

    @property
    def patients_named(self) -> bool:
        """Whether the list says whose any of the cases is."""
        return any(case.patient for case in self.cases)

    def __len__(self) -> int:
        return len(self.images)

    def fingerprint(self) -> str:
        """Hash of all that is trained on: a resumed run must have the same cases in the same order."""
        found = hashlib.sha256()
        for array in (self.targets, self.located, self.masks, self.images):
            found.update(f"{array.dtype}{array.shape}".encode())
            for item in array:  # one by one: `tobytes` of all would double the memory
                found.update(np.ascontiguousarray(item).tobytes())
        return found.hexdigest()

    def subset(self, chosen: np.ndarray) -> TrainingData:
        """The cases that a boolean or index array selects. Images and masks are shared, not copied."""
        chosen = np.arange(len(self))[chosen]
        if np.array_equal(chosen, np.arange(len(self))):
            return self
        return TrainingData(
            images=Rows(self.images, chosen),
            targets=self.targets[chosen],
            masks=Rows(self.masks, chosen),
            located=self.located[chosen],
            folds=self.folds[chosen],
            patients=None if self.patients is None else self.patients[chosen],
            statistics=tuple(np.array(self.statistics, dtype=object)[chosen]) if self.statistics else (),
            cropped=None if self.cropped is None else self.cropped[chosen],
            notices=tuple(self.notices[i] for i in chosen) if self.notices else (),
            pictures=None if self.pictures is None else self.pictures[chosen],
            cases=tuple(self.cases[i] for i in chosen) if self.cases else (),
            task=self.task,
            complete=None if self.complete is None else self.complete[chosen],
        )


def prepare(
    cases: Sequence[Case], task: TaskSpec, size: tuple[int, ...], progress: Callable[[int, int], None] | None = None
) -> TrainingData:
    """Read and conform every case to one fixed size.

    The statistics are of the image that prediction takes: the whole one, where the task has no size.

    Args:
        cases: the data list.
        task: of the model.
        size: model grid of the batches, ``task.spatial_dims`` values.
        progress: called with (done, all).

    Raises:
        MedAttnError: a case cannot be read or does not fit the task.
    """
    fixed = replace(task, size=tuple(size))
    flat = task.spatial_dims == 2
    # In their place from the start: a list that is stacked at its end takes the memory twice.
    images = np.empty((len(cases), len(task.channels), *size), np.float16)
    masks: np.ndarray | None = None
    targets, located, cropped, statistics, notices, pictures, complete = [], [], [], [], [], [], []
    empty = np.zeros(len(task.channels), int)
    for index, case in enumerate(cases):
        volume = read(case.image, modality=task.modality)
        further = [read(channel) for channel in case.channels]
        conformed = conform(volume, fixed, further)
        raw = [volume, *further]
        inside = conformed.grid.inside()
        empty += [_is_emptied(channel[inside], own.data) for channel, own in zip(conformed.image, raw, strict=True)]
        if index + 1 == min(LOOK_AT_FIRST, len(cases)) and (empty == index + 1).any():
            which = int(np.argmax(empty))
            raise TrainingError(
                "bad_config",
                f"{case.images[which]}: after intensity rule {task.intensities[which]} 99 % of it, and of every image "
                "before it, is one value; set task.intensity to what the images hold (window, percentile)",
            )
        # Where the whole image has the size of the batches, the two are one.
        alike = task.size is not None or plan_grid(volume, task).shape == conformed.grid.shape
        whole = conformed if alike else conform(volume, task, further)
        statistics.append(image_statistics(whole.image, volume))
        complete.append(alike and bool(conformed.grid.inside().all()))
        image = conformed.image
        if flat and image.shape[-1] != 1:
            raise DataListError(
                "bad_datalist",
                f"{case.image}: {image.shape[-1]} slices; this task is trained on single slices, give one a file",
            )
        drawn = None if case.mask is None else read_mask(case.mask)
        native = location_of(case, volume, drawn)
        mask = np.zeros(image.shape[1:], np.float32)
        if native is not None:
            mask = conformed.grid.conform(native)
        images[index] = image[..., 0] if flat else image
        targets.append(targets_of(case, task))
        located.append(native is not None and bool(mask.any()))
        if located[-1]:
            if masks is None:
                masks = np.zeros((len(cases), *size), np.uint8)
            masks[index] = np.round((mask[..., 0] if flat else mask) * 255)
        cropped.append(any(notice.code == "cropped" for notice in conformed.grid.notices))
        told = [(file, one) for file, own in zip(case.images, raw, strict=True) for one in doubts(own)]
        if case.mask is not None and drawn is not None and native is not None and native.any():
            told += [(case.mask, doubt.notice) for doubt in mask_doubts(case, volume, drawn)]
        notices.append(tuple(told))
        pictures.append(volume.data.shape[2] == 1)
        if progress is not None:
            progress(index + 1, len(cases))
    return TrainingData(
        images=images,
        targets=np.stack(targets),
        # The same zero for all cases where none has a place: a list without masks need not pay for them.
        masks=np.broadcast_to(np.uint8(0), (len(cases), *size)) if masks is None else masks,
        located=np.array(located),
        folds=np.array([-1 if c.fold is None else c.fold for c in cases]),
        patients=patient_numbers(cases),
        statistics=tuple(statistics),
        cropped=np.array(cropped),
        notices=tuple(notices),
        pictures=np.array(pictures),
        cases=tuple(cases),
        task=task,
        complete=np.array(complete),
    )


def patient_numbers(cases: Sequence[Case]) -> np.ndarray:
    """A number for each patient ``(N,)``; a case without one is a patient by itself."""
    return np.unique(people_of(cases), return_inverse=True)[1]


def _is_emptied(values: np.ndarray, raw: np.ndarray) -> bool:
    """Whether an intensity rule left one value in 99 % of an image; all of it, where the image is as sparse itself."""
    low, high = np.percentile(values, [0.5, 99.5])
    if high - low >= 1e-6:
        return False
    low, high = np.percentile(raw, [0.5, 99.5])
    return bool(high > low or values.max() - values.min() < 1e-6)


def prepare_list(
    path: str,
    task: TaskSpec | Mapping[str, Any],
    size: Sequence[int],
    hold_out: int | None = None,
    only: int | None = None,
    section: str = TRAINING_SECTION,
) -> TrainingData:
    """A data list file on the model grid, for the `train.json` of a bundle.

    Args:
        path: data list.
        task: of the model, or its ``to_dict`` data.
        size: model grid of the batches.
        hold_out: fold that is left out.
        only: fold that is taken alone.
        section: list within a JSON object.

    Raises:
        MedAttnError: the list or a case cannot be used.
    """
    cases = [
        case
        for case in load(path, section=section)
        if (hold_out is None or case.fold != hold_out) and (only is None or case.fold == only)
    ]
    task = task if isinstance(task, TaskSpec) else TaskSpec.from_dict(dict(task))
    return prepare(cases, task, tuple(size))
