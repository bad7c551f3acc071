"""Whose the images are: one key for a patient, however a list spells him, wherever patients are grouped or compared."""

from __future__ import annotations

from collections.abc import Sequence

from medattn_core.datalists.case import SPELLINGS, Case, spelling_of


def people_of(cases: Sequence[Case]) -> list[str]:
    """A key for the patient of each case; a case without one is a person by itself.

    By the rule of labels: `P1` and `p1` are one person, and so are `1` and `1.0`, which pandas writes as soon as the
    column has a gap. `007` and `7` are two: zeros are part of an identifier.
    """
    found = (person_of(case) for case in cases)
    return [f"\0{index}" if person is None else person for index, person in enumerate(found)]


def person_of(case: Case) -> str | None:
    """The key of the patient of one case; None where the list names none."""
    return spelling_of(case.patient.strip()) if case.patient and case.patient.strip() else None


def patients_of(cases: Sequence[Case]) -> set[str]:
    """The keys of all patients that are named."""
    return {person for person in map(person_of, cases) if person is not None}


def spelt_alike(cases: Sequence[Case]) -> str | None:
    """What to say of patients in several spellings, who are kept together; None without any. Nobody is named.

    Args:
        cases: of one list.
    """
    spellings: dict[str, set[str]] = {}
    for case in cases:
        person = person_of(case)
        if person is not None:
            spellings.setdefault(person, set()).add(str(case.patient).strip())
    several = sum(len(names) > 1 for names in spellings.values())
    if not several:
        return None
    what = "1 patient is" if several == 1 else f"{several} patients are"
    return (
        f"{what} spelt in several ways ({SPELLINGS}), and each is taken for one person, "
        "whose images stay together; give people that are not the same different names"
    )


def unnamed(cases: Sequence[Case]) -> str | None:
    """What to say of cases without a patient; None where all have one, or there is a single case."""
    count = sum(person_of(case) is None for case in cases)
    if count == 0 or len(cases) == 1:
        return None
    where = "" if count == len(cases) else f", as {count} of {len(cases)} cases are,"
    return f"without `patient`{where} images of one person may fall into several folds"
