"""No letter of a name may turn into a box, and no two names into one where a font tells them apart."""

from __future__ import annotations

import pytest

from medattn_core.outputs import letters


def test_without_a_font_of_its_own_latin_letters_are_spelt() -> None:
    for given, said in (
        ("Läsion, Ergu\N{LATIN SMALL LETTER SHARP S}", "Lasion, Erguss"),
        ("Ødem \N{MINUS SIGN}0.5", "Odem -0.5"),
        ("Łódź, smørbrød", "Lodz, smorbrod"),
        ("20 \N{MICRO SIGN}m \N{PLUS-MINUS SIGN} 1", "20 um \N{PLUS-MINUS SIGN} 1"),
        ("\N{CYRILLIC CAPITAL LETTER BE}", "?"),
    ):
        assert letters.in_ascii(given) == said


def test_with_the_font_of_matplotlib_scripts_stay() -> None:
    pytest.importorskip("matplotlib", reason="the font comes with it")
    assert letters.font_file() is not None
    names = ("Ergu\N{LATIN SMALL LETTER SHARP S}", "опухоль", "όγκος", "1 \N{PLUS-MINUS SIGN} 2 cm\N{SUPERSCRIPT TWO}")
    for name in names:
        assert letters.drawable(name) == name
        masks = [bytes(letters.font(20).getmask(letter)) for letter in name if letter != " "]
        assert bytes(letters.font(20).getmask("\uffff")) not in masks
    assert letters.drawable("a\N{COMBINING DIAERESIS}") == "\N{LATIN SMALL LETTER A WITH DIAERESIS}"
    assert letters.drawable("\N{CJK UNIFIED IDEOGRAPH-4E2D}") == "?"


def test_what_breaks_or_steers_lines_is_no_letter() -> None:
    """A file name may hold it; the layout of lines would fail, and with it the picture."""
    for code in (0x0A, 0x0D, 0x1C, 0x85, 0x2028, 0x2029, 0x200F):
        assert letters.drawable(f"a{chr(code)}b") == "a?b"
