"""docs/settings.md is what the code says, and what it says is true."""

from __future__ import annotations

import math
import re
from dataclasses import fields
from pathlib import Path
from typing import Any, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from docs import make_settings
from medattn_core.bundles.bundle import NETWORK_SETTINGS
from medattn_core.errors import TrainingError
from medattn_core.ranges import Range
from medattn_core.tasks import IntensityRule, TaskSpec
from medattn_core.training.config import ABOUT, TrainingConfig, check_about, read_config
from medattn_core.training.losses import LossWeights
from medattn_core.training.preflight import network_of, network_settings_of
from medattn_core.transforms.augment import Augmentation

PAGE = make_settings.PAGE.read_text(encoding="utf-8")
PARTS: dict[str, tuple[Any, list[str]]] = {
    "training": (TrainingConfig, []),
    "losses": (LossWeights, ["losses"]),
    "augmentation": (Augmentation, ["augmentation"]),
}
LIMITED = [(part, name) for part, (kind, _) in PARTS.items() for name in kind.ranges]


def rows(part: str) -> dict[str, list[str]]:
    """The table below a heading: key to its cells."""
    (section,) = re.findall(rf"^##+ `?{part}`?$\n(.*?)(?=^##|\Z)", PAGE, flags=re.MULTILINE | re.DOTALL)
    lines = re.findall(r"^\| `(\w+)` \|(.*)\|$", section, flags=re.MULTILINE)
    return {name: [cell.strip() for cell in cells.split(" | ")] for name, cells in lines}


def taken(part: str, name: str, value: Any) -> TrainingConfig:
    """Training settings in which one key has a value."""
    settings: dict[str, Any] = {name: value}
    for key in reversed(PARTS[part][1]):
        settings = {key: settings}
    return TrainingConfig.from_dict(settings)


def is_whole(part: str, name: str) -> bool:
    return get_type_hints(PARTS[part][0])[name] is int


def test_the_page_is_what_the_code_says() -> None:
    assert make_settings.page() == PAGE, "docs/settings.md is out of date: run `python -m docs.make_settings`"


@pytest.mark.parametrize(("part", "keys"), [
    ("task", [one.name for one in fields(TaskSpec)]),
    ("intensity", [one.name for one in fields(IntensityRule)]),
    ("network", NETWORK_SETTINGS),
    ("training", [one.name for one in fields(TrainingConfig)]),
    ("losses", [one.name for one in fields(LossWeights)]),
    ("augmentation", [one.name for one in fields(Augmentation)]),
    ("bundle", ABOUT),
])  # fmt: skip
def test_every_key_has_a_full_row(part: str, keys: Any) -> None:
    found = rows(part)
    assert set(found) == set(keys)
    assert all(len(cells) == 3 and all(cells) for cells in found.values()), found


def test_every_encoder_and_option_is_there() -> None:
    encoders = re.findall(r"^\| `([\w-]+)` \|", PAGE.split("## Encoders")[1].split("###")[0], flags=re.MULTILINE)
    assert encoders == make_settings.own_encoders()
    for name in encoders:
        assert all(f"`{option}`" in PAGE for option in make_settings.options_of(name))


def test_it_reads_as_text() -> None:
    assert not re.search(r":\w+:`|``|\bNone\b|\bTrue\b|\bFalse\b|TODO", PAGE.replace("```", ""))
    assert all(len(line) <= 120 for line in PAGE.splitlines() if not line.startswith(("|", "-")))


def test_links_lead_somewhere() -> None:
    headings = {re.sub(r"[^\w -]", "", text).strip().lower().replace(" ", "-")
                for text in re.findall(r"^##+ (.*)$", PAGE, flags=re.MULTILINE)}  # fmt: skip
    for name, anchor in re.findall(r"\]\(([\w.]*)#([\w-]+)\)", PAGE):
        if name:
            page = make_settings.PAGE.with_name(name).read_text(encoding="utf-8")
            assert re.search(rf"^##+ {anchor}$", page, flags=re.MULTILINE | re.IGNORECASE), (name, anchor)
        else:
            assert anchor in headings


def test_the_example_is_accepted(tmp_path: Path) -> None:
    path = tmp_path / "settings.yaml"
    path.write_text(PAGE.split("```yaml\n")[1].split("```")[0], encoding="utf-8")
    parts = read_config(path)
    assert set(parts) == {"task", "network", "training", "bundle"}
    assert TrainingConfig.from_dict(parts["training"]).learning_rate == 5e-4
    assert network_settings_of(parts["network"]) == {"width": 64}
    check_about(parts["bundle"])
    assert TaskSpec(**{"labels": ("a", "b"), "spatial_dims": 2, **parts["task"]}).spacing == (1, 1)


def test_every_number_of_training_has_a_range() -> None:
    for kind, _ in PARTS.values():
        numbers = {name for name, of in get_type_hints(kind).items() if of in (int, float)}
        assert numbers - set(kind.ranges) <= {"zoom_power"}  # one of four
        assert set(kind.ranges) <= numbers


@pytest.mark.parametrize(("part", "name"), LIMITED)
def test_ranges_are_true_at_their_bounds(part: str, name: str) -> None:
    accepted: Range = PARTS[part][0].ranges[name]
    whole = is_whole(part, name)
    assert rows(part)[name][1].removeprefix("integer, ") == str(accepted)
    for end, out, excluded in ((accepted.low, -math.inf, accepted.above), (accepted.high, math.inf, accepted.below)):
        if math.isinf(end):
            taken(part, name, 10**9)
            continue
        beyond = end + math.copysign(1, out) if whole else math.nextafter(end, out)
        inside = end - math.copysign(1, out) if whole else math.nextafter(end, -out)
        for value, right in ((beyond, False), (end, not excluded), (inside, True)):
            if right:
                taken(part, name, value)
                continue
            with pytest.raises(TrainingError, match=re.escape(f"accepted: {accepted}")) as caught:
                taken(part, name, value)
            assert caught.value.code == "bad_config"
            assert f"{name}=" in caught.value.message


@pytest.mark.parametrize("power", [-1, 4])
def test_powers_of_a_zoom_are_four(power: int) -> None:
    assert rows("training")["zoom_power"][1] == "`0`, `1`, `2` or `3`; for classification 0"
    for accepted in range(4):
        taken("training", "zoom_power", accepted)
    with pytest.raises(TrainingError, match="zoom_power"):
        taken("training", "zoom_power", power)


def test_shares_that_torch_checks() -> None:
    network = {"spatial_dims": 2, "in_channels": 1, "out_channels": 2, "width": 8}
    for value in (0, 1):
        network_of({**network, "dropout": value})
    for value in (-0.01, 1.01):
        with pytest.raises(TrainingError, match="dropout"):
            network_of({**network, "dropout": value})
    assert rows("network")["dropout"][1] == str(make_settings.SHARE)


@given(st.floats(-9, 9), st.floats(-9, 9), st.booleans(), st.booleans(), st.floats(-10, 10))
def test_a_range_says_what_it_takes(low: float, length: float, above: bool, below: bool, value: float) -> None:
    high = low + abs(length)
    found = Range(low=low, high=high, above=above, below=below)
    assert (value in found) == ((low < value or (value == low and not above))
                                and (value < high or (value == high and not below)))  # fmt: skip
    assert (low in found) == (not above and (low < high or not below))
    assert math.nan not in found
    assert math.inf not in Range(low=low)
    text = str(found)
    assert ("above" in text) == above
    assert ("below" in text) == below


@pytest.mark.parametrize(("given_range", "text"), [
    (Range(low=0), "0 or more"),
    (Range(low=0, above=True), "above 0"),
    (Range(low=1, high=10, off=True), "1 (off) to 10"),
    (Range(low=0, high=1, below=True), "from 0 to below 1"),
    (Range(low=0, high=1, above=True), "above 0, up to 1"),
    (Range(low=0.25, high=2**32 - 1), "0.25 to 4294967295"),
])  # fmt: skip
def test_ranges_in_words(given_range: Range, text: str) -> None:
    assert str(given_range) == text
