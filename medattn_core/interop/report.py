"""What verification found, for a person and for a program."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from medattn_core.errors import MedAttnError

PASSED, FAILED, SKIPPED = "passed", "failed", "skipped"


@dataclass(frozen=True, kw_only=True)
class Check:
    """One thing that was looked at.

    Attributes:
        name: what.
        status: ``passed``, ``failed`` or ``skipped``.
        detail: what was found, or why it was skipped.
        code: of :data:`medattn_core.errors.CODES`, where an error says why it failed.
    """

    name: str
    status: str
    detail: str = ""
    code: str | None = None


@dataclass
class Report:
    """All checks of one bundle.

    Attributes:
        bundle: as the user named it.
        checks: in the order in which they were made.
    """

    bundle: str
    checks: list[Check] = field(default_factory=list)

    @property
    def good(self) -> bool:
        """Whether nothing failed."""
        return all(check.status != FAILED for check in self.checks)

    def passed(self, name: str, detail: str = "") -> None:
        """Note a check that passed."""
        self.checks.append(Check(name=name, status=PASSED, detail=detail))

    def skipped(self, name: str, why: str) -> None:
        """Note a check that could not be made."""
        self.checks.append(Check(name=name, status=SKIPPED, detail=why))

    def failed(self, name: str, error: MedAttnError | str) -> None:
        """Note a check that failed."""
        code, detail = (error.code, error.message) if isinstance(error, MedAttnError) else (None, error)
        self.checks.append(Check(name=name, status=FAILED, detail=" ".join(detail.split()), code=code))

    def judge(self, name: str, good: bool, detail: str) -> None:
        """Note a check that either passed or failed."""
        (self.passed if good else self.failed)(name, detail)

    def lines(self) -> list[str]:
        """One line a check, and the verdict."""
        mark = {PASSED: "ok  ", FAILED: "FAIL", SKIPPED: "skip"}
        width = max((len(check.name) for check in self.checks), default=0)
        lines = [f"{mark[c.status]}  {c.name:<{width}}  {c.detail}".rstrip() for c in self.checks]
        count = sum(check.status == FAILED for check in self.checks)
        verdict = "every check passed" if count == 0 else f"{count} of {len(self.checks)} checks failed"
        left = sum(check.status == SKIPPED for check in self.checks)
        return [*lines, f"{self.bundle}: {verdict}" + (f", {left} skipped" if left else "")]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data."""
        return {
            "bundle": self.bundle,
            "good": self.good,
            "checks": [{"name": c.name, "status": c.status, "detail": c.detail, "code": c.code} for c in self.checks],
        }
