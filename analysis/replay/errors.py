"""What is wrong with a file that people bring: every finding at once, nothing half taken in."""

from __future__ import annotations

from typing import Final

from proto.model import SoundingsError

MOST_FINDINGS: Final = 20  # enough to see the pattern; a million equal lines help nobody


class BadFileError(SoundingsError):
    """Each finding reads `FILE: line N: FIELD is VALUE; FIX`."""

    def __init__(self, findings: tuple[str, ...]) -> None:
        shown = findings[:MOST_FINDINGS]
        more = len(findings) - len(shown)
        rest = (f"and {more} more",) if more else ()
        super().__init__("\n".join((*shown, *rest)))
        self.findings = findings
