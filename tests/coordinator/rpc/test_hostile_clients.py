"""Hostile clients at both doors, one kind a test: refused with a reason, while a good probe reports."""

from __future__ import annotations

import resource
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import grpc
import pytest
import structlog

from tests.fakes import impostors, strangers
from tests.fakes.siege import CUT, Outcome, Siege, besieged

COUNTED_WITHIN: Final = 40
"""Reports of the good probe that may be acknowledged before a refusal is counted: some four seconds."""

MEMORY_MIB: Final = 128
"""What an attack may leave behind, attacker included: far less than what it sent would unpack to."""


@dataclass(frozen=True)
class Case:
    """`attack` returns what the attacker got to hear; `refused` is where it must be counted."""

    attack: Callable[[Siege], Awaitable[Outcome]]
    expected: Outcome
    refused: tuple[str, str] | None = ("fleet", "no_call")
    times: int = 1


@pytest.fixture(scope="module")
def siege(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Siege]:
    """One coordinator for all."""
    with besieged(tmp_path_factory.mktemp("siege")) as it:
        yield it


@pytest.fixture
def lines(_own_log: None) -> list[dict[str, Any]]:
    """Every line that is logged."""
    found: list[dict[str, Any]] = []

    def keep(_logger: object, _method: str, line: Any) -> Any:
        found.append(dict(line))
        raise structlog.DropEvent

    structlog.configure(processors=[keep])
    return found


TOO_OFTEN: Final = "this probe comes too often"
DENIED: Final = grpc.StatusCode.PERMISSION_DENIED
UNAUTHENTICATED: Final = grpc.StatusCode.UNAUTHENTICATED
EXHAUSTED: Final = grpc.StatusCode.RESOURCE_EXHAUSTED
CASES: Final = {
    "silent TCP": Case(strangers.silent_tcp, CUT),
    "silent TCP at enrolment": Case(strangers.silent_at_enrolment, CUT, ("enrol", "no_call")),
    "half a TLS handshake": Case(strangers.half_a_handshake, CUT),
    "handshake, then silence": Case(strangers.handshake_then_silence, CUT),
    "settings, then silence": Case(strangers.settings_then_silence, CUT),
    "slow drip of a handshake": Case(strangers.slow_drip, CUT),
    "slow drip of a hello": Case(
        strangers.slow_drip_of_a_hello,
        (grpc.StatusCode.INVALID_ARGUMENT, "no hello in time"),
        ("fleet", "no_hello"),
    ),
    "plain HTTP": Case(strangers.plain_http, CUT),
    "random frames": Case(strangers.random_frames, CUT, times=20),
    "oversized message": Case(
        strangers.oversized_message, (EXHAUSTED, "SERVER: Received message larger than max"), None
    ),
    "oversized enrolment": Case(
        strangers.oversized_enrolment,
        (EXHAUSTED, "SERVER: Received message larger than max"),
        ("enrol", "no_call"),
    ),
    "compression bomb": Case(
        strangers.compression_bomb, (grpc.StatusCode.UNIMPLEMENTED, "Compression algorithm"), None
    ),
    "oversized metadata": Case(strangers.oversized_metadata, (EXHAUSTED, "")),
    "flipped bits": Case(strangers.flipped_bits, CUT, None),
    "no certificate": Case(impostors.no_certificate, CUT),
    "foreign certificate": Case(impostors.foreign_certificate, CUT),
    "expired certificate": Case(impostors.expired_certificate, CUT),
    "server certificate": Case(impostors.server_certificate, CUT),
    "two identities": Case(
        impostors.two_identities,
        (DENIED, "the certificate names no single"),
        ("fleet", "no_identity"),
    ),
    "never enrolled": Case(
        impostors.never_enrolled,
        (DENIED, "this coordinator enrolled no such"),
        ("fleet", "unknown_probe"),
    ),
    "revoked": Case(
        impostors.revoked_certificate, (DENIED, "this probe was revoked"), ("fleet", "revoked")
    ),
    "replayed token": Case(
        impostors.replayed_token,
        (UNAUTHENTICATED, "token already used by another"),
        ("enrol", "bad_token"),
    ),
    "expired token": Case(
        impostors.expired_token, (UNAUTHENTICATED, "token expired"), ("enrol", "bad_token")
    ),
    "replayed batch": Case(impostors.replayed_batch, CUT, None),
    "another probe's name": Case(impostors.another_probes_name, CUT, None),
    "future epoch": Case(
        impostors.future_epoch, (None, "epoch is later than that of hello, 7"), None
    ),
    "foreign check": Case(impostors.foreign_check, (None, "check 99 was never in a plan"), None),
    "thousands of sessions": Case(
        impostors.thousands_of_sessions, (EXHAUSTED, TOO_OFTEN), ("fleet", "too_often")
    ),
    "thousands of heartbeats": Case(
        impostors.thousands_of_heartbeats,
        (EXHAUSTED, "heartbeats and clock questions come too fast"),
        ("fleet", "too_often"),
    ),
    "thousands of streams": Case(
        impostors.thousands_of_streams, (None, "REFUSED_STREAM"), ("fleet", "no_hello")
    ),
    "thousands of connections": Case(
        impostors.thousands_of_connections, CUT, ("fleet", "source_full"), times=900
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_hostile_client_is_refused_and_harms_nobody(
    siege: Siege, lines: list[dict[str, Any]], name: str, request: pytest.FixtureRequest
) -> None:
    """It hears why or is cut off, is counted and logged, keeps no memory; a good probe is served on."""
    case, good = CASES[name], siege.good
    siege.run(siege.until(siege.is_calm))
    good.slowest_s, acked_before, kib_before = 0.0, good.acked, _rss_kib()
    counted_before = siege.refused(*case.refused) if case.refused else 0
    code, words = siege.run(case.attack(siege))
    assert (code, words[: len(case.expected[1])]) == case.expected
    siege.run(siege.until(lambda: good.acked >= acked_before + 3))
    if case.refused is not None:
        door, reason = case.refused
        wanted = counted_before + case.times
        siege.run(_count(siege, case, wanted))
        said = [one for one in lines if one["event"] == "refused"]
        assert any((one["door"], one["refusal"]) == case.refused for one in said), lines
        metric = f'soundings_refused_total{{door="{door}",reason="{reason}"}}'
        assert siege.run(siege.metrics())[metric] >= wanted
    assert siege.reporting is not None
    assert not siege.reporting.done()
    assert good.acked >= good.sent - 1
    grown_mib = (_rss_kib() - kib_before) // 1024
    request.node.user_properties += [
        ("good probe's slowest acknowledgement, s", round(good.slowest_s, 3)),
        ("memory, MiB", grown_mib),
    ]
    assert grown_mib < MEMORY_MIB


async def _count(siege: Siege, case: Case, wanted: int) -> None:
    """Wait until so many are counted. A call that is answered after its connection was told of hides
    one that comes next, so whoever is not counted comes again.
    """
    while not await _is_counted(siege, case, wanted):
        await case.attack(siege)


async def _is_counted(siege: Siege, case: Case, wanted: int) -> bool:
    assert case.refused is not None
    door, reason = case.refused
    last = siege.good.acked + COUNTED_WITHIN
    await siege.until(lambda: siege.refused(door, reason) >= wanted or siege.good.acked >= last)
    return siege.refused(door, reason) >= wanted


def _rss_kib() -> int:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize() // 1024
