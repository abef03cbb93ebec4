"""What an examination found, for people and as data.

Three levels: `ok`; `limited`, where results come but say less or come from fewer places; `broken`,
where a whole kind of check cannot run or nothing can. What is not well says what it costs and the
command that repairs it.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import Any, Final

from probe.exits import Exit

COLUMNS: Final = 80
"""A terminal over a slow line has no more."""

_MARGIN: Final = 9


class Level(StrEnum):
    """How well something works here; worst last."""

    OK = "ok"
    LIMITED = "limited"
    BROKEN = "broken"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing examined. `costs` and `fix` are empty when all is well; a line of `fix` is a command."""

    name: str
    level: Level
    says: str
    costs: str = ""
    fix: str = ""


def well(name: str, says: str) -> Finding:
    """Nothing is to be done."""
    return Finding(name=name, level=Level.OK, says=says)


def limited(name: str, says: str, *, costs: str, fix: str) -> Finding:
    """Results come, and say less."""
    return Finding(name=name, level=Level.LIMITED, says=says, costs=costs, fix=fix)


def broken(name: str, says: str, *, costs: str, fix: str) -> Finding:
    """A kind of check cannot run."""
    return Finding(name=name, level=Level.BROKEN, says=says, costs=costs, fix=fix)


def joined(of_ipv4: Sequence[Finding], of_ipv6: Sequence[Finding]) -> tuple[Finding, ...]:
    """Findings of two families: what is the same of both is said once."""
    if not (len(of_ipv4) == len(of_ipv6) == 1):
        return (*of_ipv4, *of_ipv6)
    four, six = of_ipv4[0], of_ipv6[0]
    if replace(six, name=four.name) != four:
        return (four, six)
    return (replace(four, name=f"{four.name}, IPv6"),)


def render(findings: Sequence[Finding]) -> str:
    """Worst first, within 80 columns but for commands; below each what it costs and how to repair it."""
    lines = [
        line
        for level in reversed(Level)
        for finding in findings
        if finding.level is level
        for line in _lines(finding)
    ]
    return "\n".join([*lines, "", summary(findings)]) + "\n"


def _lines(finding: Finding) -> Iterator[str]:
    yield from _wrapped(f"{finding.level.value:{_MARGIN}}", f"{finding.name}: {finding.says}")
    if finding.costs:
        yield from _wrapped(f"{'':{_MARGIN}}costs  ", finding.costs)
    # Commands are not wrapped: they are there to be copied.
    for number, line in enumerate(finding.fix.splitlines()):
        yield f"{'':{_MARGIN}}{'' if number else 'fix':7}{line}"
    if finding.fix:
        yield ""


def _wrapped(head: str, text: str) -> list[str]:
    return textwrap.wrap(
        text,
        COLUMNS,
        initial_indent=head,
        subsequent_indent=" " * len(head),
        break_long_words=False,
        break_on_hyphens=False,
    )


def summary(findings: Sequence[Finding]) -> str:
    """The last line: how much of it is well."""
    counts = {level: sum(one.level is level for one in findings) for level in Level}
    return ", ".join(f"{counts[level]} {level.value}" for level in Level)


ENDS: Final[Mapping[Exit, str]] = {
    Exit.GOOD: "nothing is broken",
    Exit.BAD_ANSWER: "something is broken",
    Exit.NO_PERMISSION: "the permission to send ICMP is missing",
}
"""How an examination ends, and what that says; what comes before one ends as any command does."""


def exit_code(findings: Sequence[Finding]) -> Exit:
    """One of ENDS; a permission can be given at once, so it is said before other things."""
    names = [finding.name for finding in findings if finding.level is Level.BROKEN]
    if any(name.startswith("icmp") for name in names):
        return Exit.NO_PERMISSION
    return Exit.BAD_ANSWER if names else Exit.GOOD


def as_data(findings: Sequence[Finding]) -> dict[str, Any]:
    """The findings as JSON can hold them."""
    return {
        "exit_code": exit_code(findings),
        "summary": summary(findings),
        "findings": [asdict(finding) for finding in findings],
    }
