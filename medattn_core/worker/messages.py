"""What a request looks like: checked here, so that nothing behind has to doubt its fields. No numpy, no torch."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, NoReturn

from medattn_core.errors import MedAttnError

_TEXT, _FLAG, _NUMBER = "text", "true or false", "a whole number"
_IDS, _TEXTS, _ID = "a list of region ids", "a list of texts", "a request id"

_PREDICTION = {"prediction": _TEXT}
_PATHS = {"path", "channels", "mask", "evidence", "region_map", "folder"}

REQUIRED: dict[str, dict[str, str]] = {
    "hello": {"protocol": _NUMBER},
    "load": {"bundle": _TEXT},
    "predict": {"path": _TEXT},
    "evidence": {**_PREDICTION, "path": _TEXT},
    "regions": _PREDICTION,
    "mask": {**_PREDICTION, "path": _TEXT, "regions": _IDS},
    "what_if": _PREDICTION,
    "save": {**_PREDICTION, "folder": _TEXT},
    "cancel": {},
    "quit": {},
}
"""Fields that a request of each type must have."""

OPTIONAL: dict[str, dict[str, str]] = {
    "hello": {"folder": _TEXT, "parent": _NUMBER, "warm": _FLAG},
    "load": {"device": _TEXT},
    "predict": {
        **dict.fromkeys(
            ("bundle", "device", "mask", "series", "modality", "name", "evidence", "region_map", "label", "against"),
            _TEXT,
        ),
        "channels": _TEXTS,
    },
    "evidence": {"label": _TEXT, "against": _TEXT},
    "regions": {"label": _TEXT, "region_map": _TEXT},
    "mask": {"label": _TEXT},
    "what_if": {"without": _IDS, "only": _IDS, "mask": _TEXT, "label": _TEXT},
    "save": {"name": _TEXT, "report": _FLAG, "batch": _TEXT},
    "cancel": {"target": _ID},
    "quit": {},
}
"""Fields that it may have."""


@dataclass(frozen=True)
class Request:
    """A checked request.

    Attributes:
        id: of the client's choice.
        type: a key of :data:`REQUIRED`.
        fields: those that were given, each of its kind; null counts as not given.
    """

    id: int | str
    type: str
    fields: dict[str, Any] = field(default_factory=dict)

    def get(self, name: str, default: Any = None) -> Any:
        """A field, or the default where it was left out."""
        return self.fields.get(name, default)


class BadRequestError(MedAttnError):
    """A line that is no request; ``id`` is the request's where that could be read."""

    id: int | str | None = None


def parse(line: bytes | None) -> Request:
    """Read one line.

    Raises:
        BadRequestError: ``bad_request``, whatever is wrong with it.
    """
    if line is None:
        _refuse(None, "the line is too long; volumes travel as files, of which a request names the path")
    try:
        data = json.loads(line.decode("utf-8"), parse_constant=_no_constant)
    except UnicodeDecodeError:
        _refuse(None, "the line is not UTF-8; one JSON object a line is accepted")
    except (ValueError, RecursionError):
        _refuse(None, "the line is not JSON; one JSON object a line is accepted")
    if not isinstance(data, dict):
        _refuse(None, f"the line is a JSON {type(data).__name__}; an object with 'id' and 'type' is accepted")
    return check(data)


def check(data: dict[str, Any]) -> Request:
    """A request from the object of a line.

    Raises:
        BadRequestError: ``bad_request``.
    """
    number: Any = data.get("id")
    if not _is(number, _ID):
        _refuse(None, "id is missing or of the wrong kind; a whole number or a text is accepted")
    kind = data.get("type")
    if not isinstance(kind, str) or kind not in REQUIRED:
        _refuse(number, f"type is {_shown(kind)}; accepted: {', '.join(REQUIRED)}")
    given = {name: value for name, value in data.items() if name not in ("id", "type") and value is not None}
    wanted, known = REQUIRED[kind], {**REQUIRED[kind], **OPTIONAL[kind]}
    for name in wanted:
        if name not in given:
            _refuse(number, f"{kind} needs the field {name!r} ({wanted[name]})")
    for name, value in given.items():
        if name not in known:
            _refuse(number, f"{kind} has no field {_shown(name)}; accepted: {', '.join(known) or 'none'}")
        if not _is(value, known[name]):
            _refuse(number, f"{name} is {_shown(value)}; {known[name]} is accepted")
        if name in _PATHS and not all(_is_path(one) for one in (value if isinstance(value, list) else [value])):
            _refuse(number, f"{name} is empty, or holds a null character or bytes that are no text; rename it")
    return Request(number, kind, given)


def _is(value: object, kind: str) -> bool:
    if kind == _FLAG:
        return isinstance(value, bool)
    if isinstance(value, bool):
        return False
    if kind in (_IDS, _TEXTS):
        inside = int if kind == _IDS else str
        return isinstance(value, list) and all(isinstance(one, inside) and not isinstance(one, bool) for one in value)
    return isinstance(value, {_TEXT: str, _NUMBER: int, _ID: (int, str)}[kind])  # type: ignore[arg-type]


def _is_path(value: str) -> bool:
    # SimpleITK ends the whole process at a name that is not valid text.
    return bool(value.strip()) and "\0" not in value and not any("\ud800" <= letter <= "\udfff" for letter in value)


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def _shown(value: object) -> str:
    """A value in a message: short, in one line."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _refuse(number: Any, message: str) -> NoReturn:
    error = BadRequestError("bad_request", message)
    error.id = number
    raise error
