"""Labels of a list: the names it states, and what an entry says is true."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from medattn_core.datalists.case import NO_LABEL, bad, composed
from medattn_core.values import PLAIN, would_be_code

_SHOWN = 5
"""Keys that a message shows."""


def stated_names(path: Path, data: Mapping[str, Any]) -> list[str] | None:
    """The ``labels`` of a JSON object in the order of their numbers; None where it names none.

    Raises:
        DataListError: ``bad_datalist``.
    """
    listed = data.get("labels")
    if isinstance(listed, dict):  # the Decathlon's {"0": "background", "1": ...}: a label is a number from 0
        numbers = [str(number) for number in range(len(listed))]
        if set(listed) != set(numbers):
            # In the order of any others each number would be the name of another label.
            keys = ", ".join(map(repr, list(listed)[:_SHOWN])) + (", ..." if len(listed) > _SHOWN else "")
            raise bad(
                path,
                f"'labels' has the keys {keys}; accepted: the numbers '0', '1' and so on, without a gap, each with its "
                "name, or a list of the names in their order",
            )
        listed = [listed[number] for number in numbers]
    if listed is not None and not (isinstance(listed, list) and all(isinstance(name, str) for name in listed)):
        raise bad(path, "'labels' must be a list of names")
    names = [composed(name.strip()) for name in listed or ()]
    for name in names:
        if name in ("", NO_LABEL):
            raise bad(path, f"'labels' has {name!r}, which is none of the labels; give each a name of its own")
        if fault := _fault(name):
            raise bad(path, f"'labels' has {name!r}, {fault}")
        if names.count(name) > 1:
            raise bad(path, f"'labels' has {name!r} twice; give each a name of its own")
    return names or None


def check_numbers(rows: Iterable[tuple[str, Mapping[str, Any]]], names: Sequence[str] | None) -> None:
    """Refuse lists of whole numbers that are numbers of labels here, and may be zeros and ones there.

    Each by itself has one meaning, so only all of a section tell: ``[0]`` makes ``[0, 1]`` two numbers.

    Args:
        rows: where each entry lies, and the tidy entry.
        names: labels in the order of their numbers.

    Raises:
        ValueError: the message lacks only the file.
    """
    if not names:
        return
    numbers: tuple[str, Any] | None = None
    flags: tuple[str, Any] | None = None
    for where, row in rows:
        given = row.get("label")
        if not isinstance(given, list) or not given or not all(type(part) is int for part in given):
            continue
        if _are_flags(given, names):
            flags = flags or (where, given)
        else:
            numbers = numbers or (where, given)
    if numbers and flags:
        raise ValueError(
            f"{flags[0]}: label {flags[1]} may be numbers of 'labels', as {numbers[1]} in {numbers[0]}, or a zero or "
            "one for each of them; write names"
        )


def _fault(name: str) -> str:
    """What is wrong with the name of a label, and what to do; empty where nothing is."""
    if len(name.splitlines()) > 1:  # a row of a table for each
        return "with a line break; write it in one line"
    if would_be_code(name):
        return f"which would be code in the configurations of a MONAI bundle; {PLAIN}"
    return ""


def _are_flags(parts: Sequence[Any], names: Sequence[str]) -> bool:
    return len(parts) == len(names) and all(type(part) is int and part in (0, 1) for part in parts)


def true_labels(folder: Path, given: Any, names: Sequence[str] | None) -> tuple[str, ...] | None:
    """What the ``label`` of an entry says is true; None where it says nothing.

    Args:
        folder: of the list.
        given: the value.
        names: accepted names in the order of their numbers.

    Raises:
        ValueError: the message lacks only the place.
    """
    if given is None:
        return None
    several = isinstance(given, (list, tuple))
    parts = [part.strip() if isinstance(part, str) else part for part in (given if several else [given])]
    if NO_LABEL in parts:
        if len(parts) > 1:
            raise ValueError(f"label {NO_LABEL!r} beside others; it says that none is true: drop it, or the others")
        return ()
    if several and names and _are_flags(parts, names):
        return tuple(name for name, part in zip(names, parts, strict=True) if part)
    found = []
    for part in parts:
        if isinstance(part, bool) or not isinstance(part, (str, int)) or part == "":
            raise ValueError(f"label {part!r}; give a name, or the number of one in 'labels'")
        if isinstance(part, int) and names:
            if not 0 <= part < len(names):
                raise ValueError(f"label {part}; 'labels' has the numbers 0 to {len(names) - 1}")
            part = names[part]
        # Of a bundle from a list that was read as it was written, the labels may be in the other form.
        name = next((known for known in names or () if composed(known) == composed(str(part))), composed(str(part)))
        if fault := _fault(name):
            raise ValueError(f"label {name!r}, {fault}")
        if ("/" in name or name.endswith((".nii", ".nii.gz", ".nrrd"))) and (folder / name).is_file():
            raise ValueError(f"label {name!r} is a file; list segmentations as 'mask'")
        if names and name not in names:
            raise ValueError(f"label {name!r} is not known; accepted: {', '.join(names)}")
        found.append(name)
    if len(set(found)) < len(found):
        raise ValueError(f"label {max(found, key=found.count)!r} twice")
    return tuple(found)
