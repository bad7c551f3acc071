"""Data lists: which images there are, what is true of them, and which belong together."""

from medattn_core.datalists.case import BOX_COLUMNS, COLUMNS, Case, label_names, one_of_several
from medattn_core.datalists.check import Checked, check
from medattn_core.datalists.learnable import nothing_to_learn, untaught
from medattn_core.datalists.load import check_section, listed_labels, load, sections
from medattn_core.datalists.location import location_of
from medattn_core.datalists.save import save
from medattn_core.datalists.splits import HELD_OUT_SECTION, TRAINING_SECTION, check_apart

__all__ = ["BOX_COLUMNS", "COLUMNS", "HELD_OUT_SECTION", "TRAINING_SECTION", "Case", "Checked", "check", "check_apart",
           "check_section", "label_names", "listed_labels", "load", "location_of", "nothing_to_learn", "one_of_several",
           "save", "sections", "untaught"]  # fmt: skip
