"""What is chosen from the whole of a list: which images are looked at, modality, slices, and what contradicts it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from medattn_core.datalists import Case
from medattn_core.errors import TrainingError
from medattn_core.training.data import prepare
from medattn_core.training.plan import LOOK_AT, plan_task
from medattn_core.volumes import Volume
from medattn_core.volumes.dicom import write_dicom_series
from medattn_core.volumes.write import write


def scan(path: Path, *shape: int, spacing: float = 1.0) -> Path:
    data = np.random.default_rng(0).random(shape or (8, 8, 8)).astype(np.float32) + 1
    write(Volume(data=data, affine=np.diag([spacing, spacing, spacing, 1.0])), path)
    return path


def named(*images: Path) -> list[Case]:
    return [Case(image=image, labels=("ab"[number % 2],)) for number, image in enumerate(images)]


@pytest.fixture
def two(tmp_path: Path) -> list[Case]:
    return named(*(scan(tmp_path / f"{number}.nii.gz", 16, 16, 1) for number in range(2)))


def test_the_whole_list_is_looked_at(tmp_path: Path) -> None:
    """A list sorted by site: of 39 images the larger part comes last."""
    fine, coarse = scan(tmp_path / "fine.nii.gz"), scan(tmp_path / "coarse.nii.gz", spacing=3.0)
    task, _size = plan_task(named(*[fine] * 15, *[coarse] * 24), {}, "t")
    assert task.spacing == (3, 3, 3)
    flat = scan(tmp_path / "flat.nii.gz", 8, 8, 1)
    for cases in (named(*[flat] * 38, fine), named(fine, *[flat] * 38)):
        assert plan_task(cases, {}, "t")[0].spatial_dims == 3  # first and last have their say


def test_the_modality_is_that_of_all_images(tmp_path: Path) -> None:
    volume = Volume(data=np.arange(512, dtype=np.float32).reshape(8, 8, 8), affine=np.eye(4))
    mr, ct = (write_dicom_series(volume, tmp_path / name, modality=name)[0].parent for name in ("MR", "CT"))
    plain = scan(tmp_path / "plain.nii.gz")
    rule = {"intensity": {"rule": "window", "lower": 0, "upper": 512}}
    everywhere = [mr] * (2 * LOOK_AT)
    for other, words in ((ct, "CT states CT and others MR"), (plain, "plain.nii.gz states none and others MR")):
        cases = named(mr, other, *everywhere[2:])  # it is not one of those that are opened
        said: list[str] = []
        task, size = plan_task(cases, rule, "t", say=said.append)
        assert task.modality == ()
        assert sum(words in line for line in said) == 1
        assert len(prepare(cases[:3], task, size).images) == 3
        assert plan_task(cases, rule | {"modality": "MR"}, "t")[0].modality == ("MR",)  # what is given stays
    assert plan_task(named(*everywhere), rule, "t")[0].modality == ("MR",)


def test_slices_stored_along_another_axis_are_pictures(tmp_path: Path) -> None:
    for number, shape in enumerate(((1, 24, 16), (24, 1, 16), (24, 16, 1))):
        cases = named(*(scan(tmp_path / f"{number}_{i}.nii.gz", *shape) for i in range(2)))
        task, size = plan_task(cases, {}, "t")
        assert task.spatial_dims == 2
        assert sorted(size) == [16, 24]
        assert prepare(cases, task, size).images.shape == (2, 1, *size)


def test_a_unit_of_labels_is_ignored_and_said(two: list[Case]) -> None:
    said: list[str] = []
    task, _ = plan_task(two, {"unit": "mm3"}, "t", say=said.append)
    assert task.unit == ""
    assert "task: the unit 'mm3' is ignored: labels have none" in said


@pytest.mark.parametrize("kind", ["multiclass", "multilabel"])
def test_a_kind_that_contradicts_values(two: list[Case], kind: str) -> None:
    values = [Case(image=case.image, value=float(number)) for number, case in enumerate(two)]
    with pytest.raises(TrainingError, match=f"kind is '{kind}', but the list holds values.*leave kind out") as caught:
        plan_task(values, {"kind": kind}, "t")
    assert caught.value.code == "bad_config"
    assert plan_task(values, {"kind": "regression"}, "t")[0].kind == "regression"


def test_a_regression_of_labels(two: list[Case]) -> None:
    with pytest.raises(TrainingError, match=r"kind is 'regression', but the list holds labels.*give the list values"):
        plan_task(two, {"kind": "regression"}, "t")


@pytest.mark.parametrize(("given", "words"), [
    ({"spacing": [0, 1]}, "spacing .* positive"), ({"spacing": (0, 1)}, "spacing .* positive"),
    ({"spacing": [1, float("nan")]}, "spacing .* positive"), ({"spacing": [1, "a"]}, "spacing .* positive"),
    ({"size": [0, 16]}, "size .* positive"), ({"size": 16}, "a list is needed"),
    ({"field_of_view": 0}, "field_of_view 0; a positive number"), ({"field_of_view": float("nan")}, "positive"),
])  # fmt: skip
def test_lengths_that_give_no_grid(two: list[Case], given: dict[str, object], words: str) -> None:
    with pytest.raises(TrainingError, match=words) as caught:
        plan_task(two, given, "t")
    assert caught.value.code == "bad_config"


@pytest.mark.parametrize("shapes", [
    ((64, 64), (80, 48), (120, 200)), ((90, 60), (60, 90)), ((60, 90), (90, 60), (60, 90)), ((64, 64),),
])  # fmt: skip
def test_pictures_of_several_shapes_are_seen_as_a_whole(tmp_path: Path, shapes: tuple[tuple[int, int], ...]) -> None:
    from PIL import Image

    cases = []
    for number, (rows, columns) in enumerate(shapes * 2):
        path = tmp_path / f"{number}.png"
        Image.fromarray(np.random.default_rng(number).integers(0, 255, (rows, columns), dtype=np.uint8)).save(path)
        cases.append(Case(image=path, labels=("ab"[number // len(shapes)],)))
    task, size = plan_task(cases, {}, "t")
    assert not prepare(cases, task, size).cropped.any()
