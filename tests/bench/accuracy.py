"""How far the times in a loaded probe's rows lie from the truth, beside fping and ping.

The probe carries its whole load; every echo and every connection of it is compared with the packets
themselves. Beside the mix run some plain http checks, whose first byte can be seen in the capture.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol, TypeVar

from tests.bench.contract import Bench, Figure, over_rounds, percentile, say
from tests.bench.echo_peers import EchoPeers, errors_us
from tests.bench.ground import CABLE, Ground
from tests.bench.running import run_vantage
from tests.bench.truth import Connection, Exchange, Recorder, Truth
from tests.bench.workload import Clock, Findings, Row, Workload, mixed

PER_S: Final = 1500.0
HTTP_PER_S: Final = 50.0
PACKETS_PER_CHECK: Final = 14  # generous: 12 of an https check with its own RST or FIN
_NEAR_NS: Final = 1_000_000_000
"""A row and its packets lie this close together; the next slot of its check is ten times as far."""

CLOCKS: Final = (Clock.KERNEL, Clock.KERNEL_BOTH, Clock.USER)
WHAT: Final = ("icmp", "tcp", "ttfb")
T = TypeVar("T", bound="_Sent")


class _Sent(Protocol):
    @property
    def sent_ns(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Round:
    """Errors in microseconds of one run, by what was timed; peers' by their names."""

    errors_us: Mapping[str, list[float]]
    peers_us: Mapping[str, list[float]]


def measure_accuracy(bench: Bench, ground: Ground, *, rounds: int, seconds: float) -> None:
    """Add the figures: each clock in turn, round after round, so that noise hits all alike."""
    runs: dict[Clock, list[Round]] = {clock: [] for clock in CLOCKS}
    missing: set[Clock] = set()
    for number in range(rounds):
        for clock in CLOCKS:
            if clock in missing:
                continue
            say(f"accuracy: round {number + 1} of {rounds}, {clock} stamps")
            found = _run(ground, clock, seconds=seconds)
            if found is None:
                missing.add(clock)
            else:
                runs[clock].append(found)
    for name, figure in _figures(runs).items():
        bench.add(name, figure)


def _run(ground: Ground, clock: Clock, *, seconds: float) -> Round | None:
    work = Workload(
        per_s={**mixed(PER_S), "http": HTTP_PER_S}, seconds=seconds, warmup_s=1.5, clock=clock
    )
    packets = round((seconds + 8) * (PER_S + HTTP_PER_S) * PACKETS_PER_CHECK)
    peers: list[EchoPeers] = []
    with Recorder(ground.vantage, CABLE, packets=packets) as recorder:
        found = run_vantage(
            ground,
            work,
            meanwhile=lambda: peers.append(EchoPeers(ground, seconds=seconds - 0.5)),
        )
        said = {name: said for peer in peers for name, said in peer.finish().items()}
        truth = recorder.read()
    if found is None:
        return None
    return Round(
        errors_us=compare(found, truth),
        peers_us={name: errors_us(times, truth) for name, times in said.items()},
    )


def compare(found: Findings, truth: Truth) -> dict[str, list[float]]:
    """The errors of the rows that were measured while the load was on."""
    errors: dict[str, list[float]] = {what: [] for what in WHAT}
    for row in found.run:
        if row.failure is not None or row.address is None or row.rtt_us is None:
            continue
        if row.port is None:
            _note(errors["icmp"], row.rtt_us, _nearest(row, truth.echoes.get(row.address, ())))
            continue
        connection = _nearest(
            row,
            (Handshaken(one) for one in truth.connections.get((row.address, row.port), ())),
        )
        if connection is None or connection.of.syns > 1:
            continue
        _note(errors["tcp"], row.rtt_us, connection.of.handshake)
        if row.port == 80 and row.first_byte_us is not None:
            _note(errors["ttfb"], row.first_byte_us, connection.of.asked)
    return errors


@dataclass(frozen=True, slots=True)
class Handshaken:
    """A connection, placed in time by its SYN."""

    of: Connection

    @property
    def sent_ns(self) -> int:
        return self.of.handshake.sent_ns


def _nearest(row: Row, sent: Iterable[T]) -> T | None:
    assert row.started_at_us is not None
    started_ns = row.started_at_us * 1000
    found = min(sent, key=lambda one: abs(one.sent_ns - started_ns), default=None)
    return None if found is None or abs(found.sent_ns - started_ns) > _NEAR_NS else found


def _note(errors: list[float], said_us: float, exchange: Exchange | None) -> None:
    if exchange is not None and exchange.us is not None:
        errors.append(abs(said_us - exchange.us))


_SUFFIX: Final = {Clock.KERNEL: "", Clock.KERNEL_BOTH: "_tx", Clock.USER: "_user_clock"}
_SHARES: Final = {"p50": 0.5, "p99": 0.99}


def _figures(runs: Mapping[Clock, list[Round]]) -> dict[str, Figure]:
    figures: dict[str, Figure] = {}
    for clock, rounds in runs.items():
        for what in WHAT:
            for word, share in _SHARES.items():
                samples = [percentile(one.errors_us[what], share) for one in rounds]
                if samples:
                    peers = _peers(rounds, share) if what == "icmp" else {}
                    name = f"{what}_error_{word}{_SUFFIX[clock]}"
                    figures[name] = over_rounds(samples, "us", peers=peers)
    ratios = [
        percentile(one.errors_us["icmp"], 0.99) / max(0.1, percentile(one.peers_us["fping"], 0.99))
        for one in runs[Clock.KERNEL]
    ]
    if ratios:
        figures["icmp_error_p99_of_fping"] = over_rounds(ratios, "of fping's p99")
    return figures


def _peers(rounds: list[Round], share: float) -> dict[str, Figure]:
    return {
        name: over_rounds([percentile(one.peers_us[name], share) for one in rounds], "us")
        for name in rounds[0].peers_us
    }
