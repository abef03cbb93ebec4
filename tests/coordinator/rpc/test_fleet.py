"""Sessions over real mTLS: from enrolment to a committed row, and every way they end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from coordinator.store.commit import Faults
from proto.codec import plan_from_wire, plan_seal
from proto.gen import fleet_pb2
from tests.fakes.coordinators import CONFIG, a_coordinator
from tests.fakes.fleet_client import EndedError, session
from tests.fakes.reports import SECOND_US, batch_of, body_of, row, spoiled


def now_us() -> int:
    """The wall clock."""
    return time.time_ns() // 1000


def fresh(check_no: int = 1, **fields: Any) -> Any:
    """A good row of a moment ago."""
    return row(check_no, now_us() - 2 * SECOND_US, **fields)


def test_a_row_goes_from_enrolment_to_the_store(tmp_path: Path) -> None:
    """Enrol, greet, report, be acknowledged: the row is there, stamped with its vantage."""

    async def scenario() -> None:
        async with a_coordinator(tmp_path) as house:
            probe = await house.probe(provider="hoster", labels={"tier": "vps"})
            async with session(house.fleet, probe.channel()) as line:
                welcome, plan = await line.hello(sent_at_us=now_us())
                assert (welcome.window, welcome.max_batch_bytes) == (8, 1 << 20)
                assert [check.check_id for check in plan.checks] == [
                    f"x/spaces/{kind}/4" for kind in ("icmp", "tcp", "http", "dns")
                ]
                await line.send(batch=batch_of(body_of([fresh(2), fresh(3)]), rows=2))
                ack = await line.receive("ack")
                assert (ack.epoch, ack.seq) == (7, 1)
                assert house.ask(
                    "SELECT check_id, vantage_asn, vantage_country, probe_id FROM results"
                    " ORDER BY ALL"
                ) == [
                    ("x/spaces/http/4", 64512, "DE", probe.probe_id),
                    ("x/spaces/tcp/4", 64512, "DE", probe.probe_id),
                ]

    asyncio.run(scenario())


def test_the_plan_is_signed_by_the_pinned_key(tmp_path: Path) -> None:
    """The signature is over the bytes that were sent and whom they are for, by the key of the CA."""

    async def scenario() -> None:
        async with a_coordinator(tmp_path) as house:
            probe = await house.probe()
            async with session(house.fleet, probe.channel()) as line:
                await line.send(hello=fleet_pb2.Hello(boot_id="b", epoch=7, sent_at_us=now_us()))
                await line.receive("welcome")
                signed = await line.receive("plan")
                key = x509.load_pem_x509_certificate(probe.ca).public_key()
                assert isinstance(key, ec.EllipticCurvePublicKey)
                assert signed.probe_id == probe.probe_id
                sealed = plan_seal(signed.plan, probe_id=probe.probe_id)
                key.verify(signed.signature, sealed, ec.ECDSA(hashes.SHA256()))

    asyncio.run(scenario())


def test_a_reconnecting_probe_learns_what_is_durable(tmp_path: Path) -> None:
    """Welcome names the mark of each epoch; what is sent again is acknowledged and stored once."""

    async def scenario() -> None:
        async with a_coordinator(tmp_path) as house:
            probe = await house.probe()
            batch = batch_of(body_of([fresh()]), seq=3)
            for have in ([], [(7, 3)]):
                async with session(house.fleet, probe.channel()) as line:
                    welcome, _ = await line.hello(sent_at_us=now_us())
                    assert [(ack.epoch, ack.seq) for ack in welcome.have] == have
                    await line.send(batch=batch)
                    assert (await line.receive("ack")).seq == 3
            assert house.ask("SELECT count(*) FROM results") == [(1,)]

    asyncio.run(scenario())


BOMB = fleet_pb2.Batch(
    epoch=7, seq=1, rows=1, codec=fleet_pb2.Batch.CODEC_ZLIB, raw_bytes=100,
    body=batch_of(bytes(1 << 20)).body,
)  # fmt: skip
BATCHES: list[tuple[Callable[[], fleet_pb2.Batch], str]] = [
    (lambda: batch_of(body_of([fresh()]), seq=0), "seq is 0; it counts from 1"),
    (lambda: batch_of(body_of([fresh()]), rows=0), "rows is 0; 1 to 20000 are allowed"),
    (lambda: batch_of(body_of([fresh()]), rows=2), "the envelope says 2 rows, the body 1"),
    (lambda: batch_of(b"", pack=False), "raw_bytes is 0; 1 to 2097152 are allowed"),
    (lambda: batch_of(b"\xff" * 40), "ReportBody: bytes do not parse"),
    (lambda: BOMB, "the body inflates to more than its raw_bytes of 100"),
    (
        lambda: fleet_pb2.Batch(
            epoch=7, seq=1, rows=1, codec=fleet_pb2.Batch.CODEC_ZLIB, raw_bytes=9, body=b"nonsense"
        ),
        "the body is not zlib",
    ),
    (
        lambda: fleet_pb2.Batch(epoch=7, seq=1, rows=1, codec=5, raw_bytes=9, body=b"nonsense"),  # type: ignore[arg-type]  # a codec of the future
        "codec 5 is unknown",
    ),
    (
        lambda: fleet_pb2.Batch(epoch=7, seq=1, rows=1, raw_bytes=8, body=b"nonsense"),
        "codec 0 is unknown",
    ),
    (
        lambda: fleet_pb2.Batch(
            epoch=7, seq=1, rows=1, codec=fleet_pb2.Batch.CODEC_PLAIN, raw_bytes=9, body=b"nonsense"
        ),
        "raw_bytes is 9, the body has 8",
    ),
    (
        lambda: batch_of(spoiled(lambda b: b.sent.pop()), rows=2),
        "column sent has another length than rows",
    ),
    (
        lambda: batch_of(body_of([fresh(location="x" * 3000)])),
        "a text is longer than 2048 characters",
    ),
    (lambda: batch_of(body_of([fresh(99)])), "check 99 was never in a plan of this probe"),
    (lambda: batch_of(body_of([fresh(lost=3)])), "more attempts lost than sent"),
]


def test_every_bad_batch_is_rejected_with_its_reason_and_the_session_goes_on(
    tmp_path: Path,
) -> None:
    """A reject names epoch, seq and reason, is a row, and the next good batch is taken."""

    async def scenario() -> None:
        async with a_coordinator(tmp_path) as house:
            probe = await house.probe()
            async with session(house.fleet, probe.channel()) as line:
                await line.hello(sent_at_us=now_us())
                for make, reason in BATCHES:
                    await line.send(batch=make())
                    reject = await line.receive("reject")
                    assert (reject.epoch, reject.reason) == (7, reason)
                await line.send(batch=batch_of(body_of([fresh()]), seq=50))
                assert (await line.receive("ack")).seq == 50
            expected = sorted((reason,) for _, reason in BATCHES)
            await house.until("SELECT reason FROM rejects ORDER BY reason", expected)
            assert house.ask("SELECT count(*) FROM results") == [(1,)]

    asyncio.run(scenario())


MESSAGES: list[tuple[dict[str, Any], str]] = [
    ({"batch": batch_of(b"x")}, "a session begins with hello"),
    ({"heartbeat": fleet_pb2.Heartbeat()}, "a session begins with hello"),
    ({}, "a session begins with hello"),
    ({"hello": fleet_pb2.Hello()}, "hello: boot_id is empty or too long"),
    ({"hello": fleet_pb2.Hello(boot_id="b", families=[5])}, "hello: families are [5]"),
    (
        {"hello": fleet_pb2.Hello(boot_id="b")},
        "hello: epoch is 0; it must be higher at every start",
    ),
]


@pytest.mark.parametrize(("message", "reason"), MESSAGES)
def test_a_session_that_does_not_begin_well_is_refused(
    tmp_path: Path, message: dict[str, Any], reason: str
) -> None:
    """Whatever comes before a good hello ends the session with the reason."""

    async def scenario() -> None:
        async with a_coordinator(tmp_path) as house:
            probe = await house.probe()
            async with session(house.fleet, probe.channel()) as line:
                await line.send(**message)
                ended = await line.ended()
                assert (ended.code, ended.details) == (grpc.StatusCode.INVALID_ARGUMENT, reason)

    asyncio.run(scenario())


def test_heartbeats_clocks_and_sessions_become_rows(tmp_path: Path) -> None:
    """What a probe says of itself is stored; a believable offset too, an absurd one not."""

    async def scenario() -> None:
        async with a_coordinator(tmp_path) as house:
            probe = await house.probe()
            async with session(house.fleet, probe.channel()) as line:
                await line.hello(sent_at_us=now_us(), backlog_rows=5, evicted_rows=2)
                beat = fleet_pb2.Heartbeat(
                    sent_at_us=now_us(), plan_version=1, spool_rows=9, lateness_us_p99=1500
                )
                await line.send(heartbeat=beat)
                t1 = time.time_ns()
                await line.send(clock=fleet_pb2.ClockAsk(t1_ns=t1, offset_us=-40, error_us=700))
                reply = await line.receive("clock")
                t4 = time.time_ns()
                assert reply.t1_ns == t1
                # the coordinator's clock counts microseconds
                assert t1 - 1000 <= reply.t2_ns <= reply.t3_ns <= t4
                await line.send(clock=fleet_pb2.ClockAsk(t1_ns=1, offset_us=1 << 62, error_us=1))
                await line.receive("clock")
                seen = house.runtime.presence.seen[probe.probe_id]
                assert (seen.connected, seen.spool_rows, seen.clock_offset_us) == (True, 9, -40)
            await house.until(
                "SELECT what, backlog_rows, evicted_rows FROM sessions ORDER BY at_time",
                [("connect", 5, 2), ("disconnect", None, None)],
            )
            assert house.ask("SELECT offset_ms, error_ms FROM clock_offsets") == [
                (pytest.approx(-0.04), pytest.approx(0.7))
            ]
            assert house.ask(
                "SELECT plan_version, spool_rows, rss_bytes, lateness_ms_p99, clock_synchronised "
                "FROM heartbeats"
            ) == [(1, 9, None, 1.5, None)]
            assert not house.runtime.presence.seen[probe.probe_id].connected

    asyncio.run(scenario())


def test_an_impossible_heartbeat_ends_the_session(tmp_path: Path) -> None:
    """A stamp that no clock shows is not a heartbeat."""

    async def scenario() -> None:
        async with a_coordinator(tmp_path) as house:
            probe = await house.probe()
            async with session(house.fleet, probe.channel()) as line:
                await line.hello(sent_at_us=now_us())
                await line.send(heartbeat=fleet_pb2.Heartbeat(sent_at_us=1 << 62))
                ended = await line.ended()
                assert ended.details == "heartbeat: sent_at_us is impossible"

    asyncio.run(scenario())


def test_a_clock_ten_minutes_off_is_told_at_once(tmp_path: Path) -> None:
    """The notice follows the plan; the session goes on and rows ahead of time are marked."""

    async def scenario() -> None:
        async with a_coordinator(tmp_path) as house:
            probe = await house.probe()
            off_us = 600 * SECOND_US
            async with session(house.fleet, probe.channel()) as line:
                await line.hello(sent_at_us=now_us() + off_us)
                notice = await line.receive("notice")
                assert notice.text.startswith("this probe's clock is 10.0 minutes ahead")
                ahead = row(1, now_us() + off_us)
                await line.send(batch=batch_of(body_of([ahead])))
                await line.receive("ack")
                assert house.ask("SELECT validity FROM results") == [("clock_suspect",)]

    asyncio.run(scenario())


def test_a_plan_counts_as_followed_when_the_probe_says_so(tmp_path: Path) -> None:
    """Slots are due from the first message that names the version, and none are due before."""

    async def scenario() -> None:
        async with a_coordinator(tmp_path) as house:
            probe = await house.probe()
            async with session(house.fleet, probe.channel()) as line:
                _, plan = await line.hello(sent_at_us=now_us())
                assert house.ask("SELECT count(*) FROM plans") == [(0,)]
                beat = fleet_pb2.Heartbeat(sent_at_us=now_us(), plan_version=plan.version)
                await line.send(heartbeat=beat)
                await line.send(heartbeat=beat)
                await house.until(
                    "SELECT plan_version, count(*), count(until_at) FROM plans GROUP BY ALL",
                    [(1, 4, 0)],
                )
                assert house.ask("SELECT DISTINCT interval_us, phase_us < 30000000 FROM plans") == [
                    (30_000_000, True)
                ]

    asyncio.run(scenario())


def test_a_plan_holds_from_the_instant_at_which_the_probe_took_it_up(tmp_path: Path) -> None:
    """A heartbeat that comes late makes no slot of the old plan due that was never to be measured."""

    async def scenario() -> None:
        async with a_coordinator(tmp_path) as house:
            probe = await house.probe()
            async with session(house.fleet, probe.channel()) as line:
                _, plan = await line.hello(sent_at_us=now_us())
                since_us = now_us() - 14_000_000
                beat = fleet_pb2.Heartbeat(
                    sent_at_us=now_us(), plan_version=plan.version, plan_since_us=since_us
                )
                await line.send(heartbeat=beat)
                await house.until("SELECT DISTINCT epoch_us(from_at) FROM plans", [(since_us,)])

    asyncio.run(scenario())


def test_a_changed_configuration_reaches_connected_probes(tmp_path: Path) -> None:
    """The new plan is pushed; checks that stay keep their numbers, and old rows are still taken."""

    async def scenario() -> None:
        async with a_coordinator(tmp_path) as house:
            probe = await house.probe()
            async with session(house.fleet, probe.channel()) as line:
                _, before = await line.hello(sent_at_us=now_us())
                numbers = {check.check_id: check.check_no for check in before.checks}
                house.config_file.write_text(
                    CONFIG + 'kinds = ["http"]\n[[anchor]]\nname = "a"\nurl = "tcp://a.test:1"\n'
                )
                assert await house.runtime.configs.reload()
                pushed = await line.receive("plan")
                after = {
                    check.check_id: check.check_no for check in plan_from_wire(pushed.plan).checks
                }
                assert after["x/spaces/http/4"] == numbers["x/spaces/http/4"]
                assert not set(after.values()) & (
                    set(numbers.values()) - {numbers["x/spaces/http/4"]}
                )
                await line.send(batch=batch_of(body_of([fresh(numbers["x/spaces/dns/4"])])))
                await line.receive("ack")

    asyncio.run(scenario())


def test_a_store_in_trouble_sends_probes_away_until_it_is_well(tmp_path: Path) -> None:
    """Nothing is acknowledged; the probe is told when to come back, and then all is taken."""
    strikes = [duckdb.IOException("No space left on device")]

    def strike() -> None:
        if strikes and armed:
            raise strikes.pop()

    armed: list[bool] = []

    async def scenario() -> None:
        async with a_coordinator(tmp_path, faults=Faults(before_commit=strike)) as house:
            probe = await house.probe()
            async with session(house.fleet, probe.channel()) as line:
                await line.hello(sent_at_us=now_us())
                armed.append(True)
                await line.send(batch=batch_of(body_of([fresh()])))
                ended = await line.ended()
                assert ended.code is grpc.StatusCode.RESOURCE_EXHAUSTED
                assert 2000 <= int(ended.trailing["retry-after-ms"]) <= 10_000
            while house.runtime.store.trouble is not None:
                await house.runtime.store.run_in_store(lambda _: None)
            assert house.ask("SELECT count(*) FROM results") == [(0,)]
            async with session(house.fleet, probe.channel()) as line:
                await line.hello(sent_at_us=now_us())
                await line.send(batch=batch_of(body_of([fresh()])))
                assert (await line.receive("ack")).seq == 1

    asyncio.run(scenario())


def test_draining_owes_nobody_an_acknowledgement(tmp_path: Path) -> None:
    """What was taken before the stop is committed and acknowledged; then the probe is sent away."""

    async def _read_all(line: Any) -> list[str]:
        kinds = []
        try:
            while True:
                kinds.append((await line.next()).WhichOneof("message"))
        except (EndedError, grpc.aio.AioRpcError):
            return kinds

    async def drained() -> None:
        async with a_coordinator(tmp_path) as house:
            probe = await house.probe()
            client = session(house.fleet, probe.channel())
            line = await client.__aenter__()
            await line.hello(sent_at_us=now_us())
            for seq in range(1, 6):
                await line.send(batch=batch_of(body_of([fresh()]), seq=seq))
            while house.runtime.store.counts.accepted < 5:
                await house.runtime.store.run_in_store(lambda _: None)
            reading = asyncio.create_task(_read_all(line))
        kinds = await reading
        await client.__aexit__(None, None, None)
        assert kinds[-1] == "drain"
        assert set(kinds[:-1]) == {"ack"}
        con = duckdb.connect(tmp_path / "d" / "soundings.duckdb", read_only=True)
        assert con.execute("SELECT count(*), max(seq) FROM batches").fetchall() == [(5, 5)]
        con.close()

    asyncio.run(drained())
