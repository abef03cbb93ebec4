"""The lab's fleet: real probes, forked from one process that has imported everything.

A probe that starts its own interpreter spends 0.25 s of processor on imports; two dozen of them would
keep two cores busy for longer than the incident lasts. So this process imports the probe's command
once and forks; each child enters its vantage's place and calls the command's own `main`: first
`enrol` with a token, through the real enrolment port, then `run`. Everything after the fork is what
a probe on a VPS does, and each can be killed with -9 and started again by itself.

The one condition: no gRPC channel may exist in this process before the fork (its threads would not
follow), so nothing here opens one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from deploy.lab.fleet_config import write_probe_config
from deploy.lab.ground import Ground
from deploy.lab.services import Running, launch, stop_all
from deploy.lab.topology import Part

ENROLLED_FILE: Final = "certificate.pem"
#: Two dozen probes enrol at once on two cores; whoever waited too long asks again, as a person would.
ENROL_TRIES: Final = 4
UNREACHABLE: Final = 6


@dataclass(slots=True)
class Fleet:
    """Probes by vantage."""

    ground: Ground
    directory: Path
    ca_file: Path
    tokens: Mapping[str, str]
    probes: dict[str, Running] = field(default_factory=dict)

    def state(self, vantage: str) -> Path:
        """The probe's state directory."""
        return self.directory / vantage

    def start(self, vantage: str) -> None:
        """Start a vantage's probe; one that has no identity yet enrols first."""
        state = self.state(vantage)
        if not state.exists():
            state.mkdir(parents=True, mode=0o700)
            write_probe_config(
                self.ground, vantage, ca_file=self.ca_file, path=state / "probe.toml"
            )
        self.probes[vantage] = launch(
            self.ground.place(vantage),
            lambda: self._run(vantage),
            name=f"probe@{vantage}",
            log=state / "log",
        )

    def start_all(self) -> None:
        for vantage in self.tokens:
            self.start(vantage)

    def kill(self, vantage: str) -> None:
        """`kill -9` of one probe."""
        self.probes[vantage].kill()

    def stop(self) -> None:
        stop_all(tuple(self.probes.values()))

    def dead(self) -> tuple[Running, ...]:
        """Probes that ended by themselves."""
        return tuple(probe for probe in self.probes.values() if not probe.alive())

    def enrolled(self) -> int:
        """How many have an identity."""
        return sum((self.state(vantage) / ENROLLED_FILE).exists() for vantage in self.tokens)

    def _run(self, vantage: str) -> int:
        from probe import cli  # noqa: PLC0415 (imported by `preload` in the process that forks)

        state = str(self.state(vantage))
        for _ in range(ENROL_TRIES):
            if (self.state(vantage) / ENROLLED_FILE).exists():
                break
            where = ["--coordinator", self._enrol_at()]
            code = cli.main(["enrol", "--state", state, *where, self.tokens[vantage]])
            if code not in {0, UNREACHABLE}:
                return code
        return cli.main(["run", "--state", state])

    def _enrol_at(self) -> str:
        coordinator = self.ground.topology.names(Part.COORDINATOR)[0]
        return f"{self.ground.addresses(coordinator)[0]}:{self.ground.ports.enrol}"


def preload() -> None:
    """Import what every child needs, before the first fork."""
    import probe.cli  # noqa: F401, PLC0415 - the demo's --help must not pay for it
