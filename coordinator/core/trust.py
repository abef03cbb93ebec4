"""Is a probe to be believed? Counts of what no honest probe does, and from which count on that is no chance.

A probe that is merely in a bad place is not a liar: its own line fails, one target is blocked there, a
packet is lost. So failures of most of its anchors at once do not count, nor does an anchor that never
answers it, and what is left is held against a rate and a number. What cannot happen to an honest probe at
all (an answer that nobody gave, a whole that is shorter than its parts) needs a few rows only, for the
sake of what was lost in a crash of our own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

CANARY_ROWS_MIN: Final = 3
CANARY_SHARE: Final = 0.2
"""Answers that were not given, or given to another: a crash of ours may lose what it had just given."""

ANCHOR_CELLS_MIN: Final = 50
ANCHORS_MIN: Final = 3
AGREEMENT_MIN: Final = 0.75
"""Lower than the method's 0.9: of 4,000 simulated honest probes a dozen on the worst lines fell below that,
the worst to 0.78. Who loses one attempt in five is no liar, and is weighed against its own history."""

AGREED_BEFORE: Final = (20.0, 1.0)
"""A probe begins as one that agreed in 20 cells of 21 (method: Beta(20, 1))."""

IMPOSSIBLE_ROWS_MIN: Final = 3

ALIKE_ROWS_MIN: Final = 5
ALIKE_SHARE: Final = 0.1
"""Rows whose times are those of another row to the microsecond; by chance one in thousands is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustFacts:
    """What was counted of one probe; the table trust_facts says what each count is."""

    canary_rows: int = 0
    canary_unknown: int = 0
    canary_copied: int = 0
    anchor_cells: int = 0
    anchor_alone: int = 0
    anchors_alone: int = 0
    timed_rows: int = 0
    impossible_rows: int = 0
    repeated_rows: int = 0
    copied_rows: int = 0

    @property
    def agreement(self) -> float:
        """How often it agrees with the others about anchors, of all that may be expected."""
        agreed, alone = AGREED_BEFORE
        whole = agreed + alone + self.anchor_cells
        return (agreed + self.anchor_cells - self.anchor_alone) / whole


def doubts(facts: TrustFacts) -> dict[str, str]:
    """By word, a sentence for each thing that it does and no honest probe would."""
    found = {}
    wrong = facts.canary_unknown + facts.canary_copied
    if wrong >= CANARY_ROWS_MIN and wrong >= CANARY_SHARE * facts.canary_rows:
        found["canary"] = (
            f"{wrong} of {facts.canary_rows} answers of our own server that it reports were never "
            "given to it"
        )
    if (
        facts.anchor_cells >= ANCHOR_CELLS_MIN
        and facts.anchors_alone >= ANCHORS_MIN
        and facts.agreement < AGREEMENT_MIN
    ):
        found["anchors"] = (
            f"in {facts.anchor_alone} of {facts.anchor_cells} cells of {facts.anchors_alone} anchors "
            "it says the opposite of nearly all others"
        )
    if facts.impossible_rows >= IMPOSSIBLE_ROWS_MIN:
        found["times"] = f"{facts.impossible_rows} of {facts.timed_rows} rows have impossible times"
    for word, rows, whose in (
        ("repeats", facts.repeated_rows, "its own earlier rows"),
        ("copies", facts.copied_rows, "another probe's rows"),
    ):
        if rows >= ALIKE_ROWS_MIN and rows >= ALIKE_SHARE * facts.timed_rows:
            found[word] = f"{rows} of {facts.timed_rows} rows have the very times of {whose}"
    return found
