"""The one command: each subcommand belongs to a package's cli, imported only when asked for.

So a VPS with the base install runs `soundings probe` without any of the coordinator's libraries,
and `soundings --help` answers at once.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

VERSION: Final = "0.1.0"


@dataclass(frozen=True, slots=True)
class Command:
    """One subcommand: who answers it, and whether that module wants to see the word itself."""

    module: str
    about: str
    pass_name: bool = False


COMMANDS: Final = {
    "up": Command("coordinator.up_cli", "coordinator, one local probe and a page on this machine"),
    "demo": Command(
        "deploy.lab.cli", "a small internet, a failing live component, a verdict", True
    ),
    "coordinator": Command("coordinator.cli", "run the server; tokens, probes, configuration"),
    "probe": Command("probe.cli", "enrol, run, check one target, doctor"),
    "measure": Command("coordinator.measure_cli", "have probes measure a URL once, now"),
    "verdict": Command("analysis.cli", "what failed, for whom, and what cannot be known", True),
    "incidents": Command("analysis.cli", "runs of verdicts with onset, end and scope", True),
    "adjudicate": Command("analysis.cli", "test a claim against what the probes saw", True),
    "sql": Command("analysis.cli", "read-only SQL over a closed file", True),
    "import": Command("analysis.cli", "take in rows that others measured", True),
    "bench": Command("analysis.cli", "predict windows of foreign rows; accuracy", True),
    "lab": Command("deploy.lab.cli", "run scenarios with real packets on this machine", True),
}

USAGE_EXIT: Final = 2
MISSING_EXIT: Final = 9


def usage() -> str:
    """The text of `soundings --help`."""
    lines = [f"  {name:<12} {command.about}" for name, command in COMMANDS.items()]
    return "\n".join(
        [
            "usage: soundings COMMAND [OPTIONS]",
            "",
            "Probes on many networks, one verdict: which layer failed, for whom, and what nobody",
            "outside can know.",
            "",
            *lines,
            "",
            "example: soundings demo --exit",
            "Each command answers --help with an example and its exit codes.",
        ]
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Hand the arguments to the package that owns the subcommand; its exit code is ours."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in {"-h", "--help", "help"}:
        print(usage())
        return 0 if arguments else USAGE_EXIT
    if arguments[0] in {"-V", "--version"}:
        print(f"soundings {VERSION}")
        return 0
    command = COMMANDS.get(arguments[0])
    if command is None:
        print(f"soundings: no command {arguments[0]!r}; see soundings --help", file=sys.stderr)
        return USAGE_EXIT
    return _run(command, arguments if command.pass_name else arguments[1:])


def _run(command: Command, arguments: list[str]) -> int:
    try:
        module = importlib.import_module(command.module)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] in {"probe", "coordinator", "analysis"}:
            raise
        print(
            f"soundings: this command needs {error.name!r}, which is not installed; "
            "fix: pip install 'soundings[coordinator]'",
            file=sys.stderr,
        )
        return MISSING_EXIT
    code: int = module.main(arguments)
    return code


if __name__ == "__main__":
    sys.exit(main())
