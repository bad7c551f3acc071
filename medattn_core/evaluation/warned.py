"""What the cases were warned of, one line a code: of hundreds of cases nobody reads the table to the end."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from medattn_core.datalists import Case
from medattn_core.errors import Notice
from medattn_core.outputs.files import without_folders


@dataclass
class Warned:
    """Warnings over a list.

    Attributes:
        cases: code to how many cases have it.
        first: code to the message of the first of them.
    """

    cases: dict[str, int] = field(default_factory=dict)
    first: dict[str, str] = field(default_factory=dict)

    def add(self, case: Case, notices: Iterable[Notice]) -> None:
        """Those of one case; a code that it has twice, of two axes for instance, counts once."""
        messages: dict[str, str] = {}
        for notice in notices:
            messages.setdefault(notice.code, notice.message)
        for code, message in messages.items():
            self.cases[code] = self.cases.get(code, 0) + 1
            if code not in self.first:
                self.first[code] = _of_any(message, case)

    @property
    def counts(self) -> dict[str, int]:
        """Code to the number of cases, the most frequent first."""
        return dict(sorted(self.cases.items(), key=lambda one: (-one[1], one[0])))

    @property
    def messages(self) -> dict[str, str]:
        """Code to the first message, in the order of :attr:`counts`."""
        return {code: self.first[code] for code in self.counts}


def _of_any(message: str, case: Case) -> str:
    """A message that stands for several cases: without the file that it begins with, and without folders, which may be
    named after patients."""
    for file in case.images:
        message = message.removeprefix(f"{file}: ").removeprefix(f"{file.name}: ")
    return without_folders(message, map(str, case.images))
