"""How a coordinator command ends: the documented exit codes, and the error that carries one."""

from __future__ import annotations

from enum import IntEnum

from proto.model import SoundingsError


class Exit(IntEnum):
    """Exit codes of `soundings coordinator`, the same for every subcommand."""

    GOOD = 0
    BAD_ANSWER = 1
    USAGE = 2
    BAD_CONFIG = 3
    DATA_UNUSABLE = 7
    PORT_OCCUPIED = 8


class CoordinatorError(SoundingsError):
    """A command cannot go on; the text says what is wrong, with which value, and what to do."""

    def __init__(self, text: str, *, code: Exit) -> None:
        super().__init__(text)
        self.code = code
