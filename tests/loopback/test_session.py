from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
import structlog
import trio

from probe.io import trust
from probe.io.clock import utc, wall_us
from probe.io.link import INBOX_MAX, open_stream
from probe.io.session import PLAN_GAP_S, WINDOW_MAX
from probe.io.state import StateDirectory
from proto.gen import fleet_pb2
from proto.model import Certificate, Plan
from tests.fakes.fleet import Authority, Behaviour, Coordinator
from tests.fakes.ledgers import START_US, a_check, a_row
from tests.fakes.vantage import Vantage, emptied, enrolled, numbers_of, online, seen

PLAN = Plan(version=7, checks=(a_check(),), heartbeat_s=0.2)


class WithoutProcesses(Vantage):
    """On a machine that starts no further one."""

    python = "/nowhere/python"


async def test_rows_arrive_once_and_in_order(coordinator: Coordinator, tmp_path: Path) -> None:
    """Added rows come out of the coordinator as they went in, and leave the spool."""
    async with online(Vantage(enrolled(tmp_path, coordinator))) as vantage:
        vantage.add(range(95))
        await seen(coordinator, lambda s: len(s.rows) == 95)
        await emptied(vantage)
    assert numbers_of(coordinator) == list(range(95))
    assert [batch.seq for batch in coordinator.seen.batches] == list(range(1, 11))


async def test_the_first_words_say_who_and_what_is_held(
    coordinator: Coordinator, tmp_path: Path
) -> None:
    """The hello names epoch, backlog and plan, before anything else is sent."""
    vantage = Vantage(enrolled(tmp_path, coordinator))
    vantage.add(range(10))
    await vantage.outbox.flush()
    async with online(vantage):
        await seen(coordinator, lambda s: bool(s.hellos))
    hello = coordinator.seen.hellos[0]
    assert (hello.epoch, hello.next_seq, hello.backlog_rows) == (vantage.outbox.epoch, 2, 10)


async def test_a_signed_plan_is_followed_kept_and_told(
    coordinator: Coordinator, tmp_path: Path
) -> None:
    """The plan in force shows in the next heartbeat at once, and a restart finds it on disk."""
    coordinator.behaviour.plan = PLAN
    async with online(Vantage(enrolled(tmp_path, coordinator))) as vantage:
        await seen(coordinator, lambda s: any(b.plan_version == 7 for b in s.heartbeats))
        assert vantage.followed == [PLAN]
        with trio.fail_after(10):
            while vantage.state.read("plan.bin") is None:
                await trio.lowlevel.checkpoint()
    again = Vantage(tmp_path)
    again.plans.restore()
    assert again.followed == [PLAN]


async def test_a_plan_signed_by_another_key_changes_nothing(
    coordinator: Coordinator, tmp_path: Path
) -> None:
    """Whoever took over the fleet door cannot make the probe contact anything."""
    coordinator.behaviour.plan = PLAN
    async with online(Vantage(enrolled(tmp_path, coordinator))) as vantage:
        await seen(coordinator, lambda s: any(b.plan_version == 7 for b in s.heartbeats))
        forged = Authority().sign(replace(PLAN, version=8))
        coordinator.push(fleet_pb2.Down(plan=forged))
        too_fast = replace(PLAN, version=9, checks=(a_check(interval_s=0.001),))
        coordinator.push(fleet_pb2.Down(plan=coordinator.authority.sign(too_fast)))
        last = replace(PLAN, version=10)
        coordinator.push(fleet_pb2.Down(plan=coordinator.authority.sign(last)))
        await seen(coordinator, lambda s: any(b.plan_version == 10 for b in s.heartbeats))
    assert {plan.version for plan in vantage.followed} == {7, 10}


async def test_no_more_than_the_window_is_out(coordinator: Coordinator, tmp_path: Path) -> None:
    """Without acks a probe with a backlog sends the window and waits."""
    coordinator.behaviour = Behaviour(window=3, ack=False)
    vantage = Vantage(enrolled(tmp_path, coordinator))
    vantage.add(range(200))
    await vantage.outbox.flush()
    async with online(vantage):
        await seen(coordinator, lambda s: len(s.batches) >= 3 and len(s.heartbeats) >= 3)
        assert len(coordinator.seen.batches) == 3
        coordinator.behaviour.ack = True
        coordinator.seen.marks[vantage.outbox.epoch] = 0
        epoch = vantage.outbox.epoch
        coordinator.push(fleet_pb2.Down(ack=fleet_pb2.Ack(epoch=epoch, seq=3)))
        await seen(coordinator, lambda s: len(s.batches) == 20)
        await emptied(vantage)


async def test_a_rejected_report_is_dropped_and_the_rest_goes_on(
    coordinator: Coordinator, tmp_path: Path
) -> None:
    """One poisoned report neither blocks the others nor stays in the spool."""
    coordinator.behaviour.reject = lambda seq: seq == 2
    async with online(Vantage(enrolled(tmp_path, coordinator))) as vantage:
        vantage.add(range(30))
        await seen(coordinator, lambda s: len(s.rows) == 20)
        await emptied(vantage)
    assert numbers_of(coordinator) == [*range(10), *range(20, 30)]


async def test_a_report_beyond_the_coordinators_limit_is_dropped(
    coordinator: Coordinator, tmp_path: Path
) -> None:
    """It could never be taken, so it is given up loudly instead of being sent for ever."""
    coordinator.behaviour.max_batch_bytes = 10
    async with online(Vantage(enrolled(tmp_path, coordinator))) as vantage:
        vantage.add(range(10))
        await seen(coordinator, lambda s: len(s.heartbeats) >= 2)
        await emptied(vantage)
    assert coordinator.seen.batches == []


async def test_a_restart_of_the_coordinator_loses_and_doubles_nothing(
    coordinator: Coordinator, tmp_path: Path
) -> None:
    """Rows measured while it is away wait on disk and arrive once it is back."""
    async with online(Vantage(enrolled(tmp_path, coordinator))) as vantage:
        vantage.add(range(20))
        await seen(coordinator, lambda s: len(s.rows) == 20)
        await trio.to_thread.run_sync(coordinator.stop)
        vantage.add(range(20, 60))
        await trio.to_thread.run_sync(coordinator.start)
        await seen(coordinator, lambda s: len(s.rows) == 60)
    assert numbers_of(coordinator) == list(range(60))
    assert len(coordinator.seen.hellos) >= 2


async def test_a_lost_ack_is_healed_by_the_welcome(
    coordinator: Coordinator, tmp_path: Path
) -> None:
    """What the coordinator committed before the cut is not sent a second time."""
    coordinator.behaviour.ack = False
    async with online(Vantage(enrolled(tmp_path, coordinator))) as vantage:
        vantage.add(range(30))
        await seen(coordinator, lambda s: len(s.batches) == 3)
        coordinator.seen.marks[vantage.outbox.epoch] = 3
        coordinator.behaviour.ack = True
        coordinator.drop_sessions()
        await emptied(vantage)
        await seen(coordinator, lambda s: len(s.hellos) == 2)
    assert len(coordinator.seen.batches) == 3


async def test_a_stopped_coordinator_is_noticed(coordinator: Coordinator, tmp_path: Path) -> None:
    """The connection lives but nobody answers: the session ends and a new one is tried."""
    async with online(Vantage(enrolled(tmp_path, coordinator), reply_deadline_s=0.5)):
        await seen(coordinator, lambda s: len(s.clocks) >= 2)
        coordinator.behaviour.answer_clock = False
        await seen(coordinator, lambda s: len(s.hellos) >= 2)
        coordinator.behaviour.answer_clock = True
        clocks = len(coordinator.seen.clocks)
        await seen(coordinator, lambda s: len(s.clocks) > clocks + 1)


async def test_a_draining_coordinator_is_left_in_peace(
    coordinator: Coordinator, tmp_path: Path
) -> None:
    """After a drain nothing more is sent; acks still count; the probe comes back as told."""
    async with online(Vantage(enrolled(tmp_path, coordinator))) as vantage:
        vantage.add(range(10))
        await seen(coordinator, lambda s: len(s.rows) == 10)
        coordinator.push(fleet_pb2.Down(drain=fleet_pb2.Drain(retry_after_ms=10)))
        coordinator.push(fleet_pb2.Down(notice=fleet_pb2.Notice(text="back soon")))
        coordinator.drop_sessions()
        await seen(coordinator, lambda s: len(s.hellos) == 2)


async def test_the_clock_offset_is_found_and_reported(
    coordinator: Coordinator, tmp_path: Path
) -> None:
    """Ten minutes off are estimated to the millisecond, reported up, and make rows suspect."""
    coordinator.behaviour.clock_offset_us = 600_000_000
    async with online(Vantage(enrolled(tmp_path, coordinator))) as vantage:
        await seen(coordinator, lambda s: any(c.HasField("offset_us") for c in s.clocks))
        estimate = vantage.clocks.estimate()
    assert estimate is not None
    assert abs(estimate.offset_us - 600_000_000) <= estimate.error_us
    assert estimate.suspect


async def test_a_certificate_is_sent_with_its_row_and_once_per_session(
    coordinator: Coordinator, tmp_path: Path
) -> None:
    """The coordinator parses it; a new session may need it again."""
    seen_der = Certificate(sha256="ab" * 32, der=b"der")
    async with online(Vantage(enrolled(tmp_path, coordinator))) as vantage:
        for number in range(30):
            vantage.outbox.add(a_row(START_US + number), (seen_der,))
        await seen(coordinator, lambda s: len(s.rows) == 30)
        sizes = [batch.raw_bytes for batch in coordinator.seen.batches]
    assert sizes[0] > sizes[1] == sizes[2]


async def test_a_certificate_past_half_its_life_is_renewed(
    coordinator: Coordinator, tmp_path: Path
) -> None:
    """The new one lies on disk for the next connection; the session goes on."""
    coordinator.behaviour.certificate_life = timedelta(days=1)
    enrolled(tmp_path, coordinator)
    coordinator.behaviour.certificate_life = timedelta(days=14)
    async with online(Vantage(tmp_path)) as vantage:
        await seen(coordinator, lambda s: s.renewals == 1)
        with trio.fail_after(10):
            while renewal_due(vantage):
                await trio.lowlevel.checkpoint()
        assert len(coordinator.seen.hellos) == 1


async def test_a_renewal_that_fails_says_why_and_ends_nothing(
    coordinator: Coordinator, tmp_path: Path
) -> None:
    """The words of the process that tried reach the log; the session goes on with what it has."""
    coordinator.behaviour.certificate_life = timedelta(days=1)
    vantage = Vantage(enrolled(tmp_path, coordinator))
    (tmp_path / "csr.der").unlink()
    with structlog.testing.capture_logs() as logs:
        async with online(vantage):
            with trio.fail_after(20):
                while not any(entry["event"] == "certificate_not_renewed" for entry in logs):
                    await trio.lowlevel.checkpoint()
            vantage.add(range(5))
            await seen(coordinator, lambda s: len(s.rows) == 5)
    (told,) = [entry for entry in logs if entry["event"] == "certificate_not_renewed"]
    assert "csr.der is missing" in told["cause"]
    assert (coordinator.seen.renewals, len(coordinator.seen.hellos)) == (0, 1)


def renewal_due(vantage: Vantage) -> bool:
    """Whether the certificate on disk is past half its life."""
    pem = vantage.state.read("certificate.pem")
    assert pem is not None
    return trust.lifetime(pem).renewal_due(utc(wall_us()()))


async def test_an_expired_certificate_is_recovered_by_its_key(
    coordinator: Coordinator, tmp_path: Path
) -> None:
    """A probe that was switched off for weeks comes back without a new token."""
    coordinator.behaviour.certificate_life = timedelta(seconds=-1)
    enrolled(tmp_path, coordinator)
    coordinator.behaviour.certificate_life = timedelta(days=14)
    async with online(Vantage(tmp_path)) as vantage:
        vantage.add(range(5))
        await seen(coordinator, lambda s: len(s.rows) == 5)


async def test_words_before_the_welcome_end_the_session(
    coordinator: Coordinator, tmp_path: Path
) -> None:
    """A peer that does not keep to the protocol is left, and tried again later."""
    coordinator.behaviour.first_words = fleet_pb2.Down(ack=fleet_pb2.Ack(epoch=1, seq=1))
    async with online(Vantage(enrolled(tmp_path, coordinator))) as vantage:
        vantage.add(range(5))
        await seen(coordinator, lambda s: len(s.hellos) == 2 and len(s.rows) == 5)


@pytest.mark.parametrize(
    "welcome",
    [
        fleet_pb2.Welcome(),
        fleet_pb2.Welcome(window=8, sent_at_us=2**63 - 1),
        fleet_pb2.Welcome(window=8, sent_at_us=-(2**63)),
        fleet_pb2.Welcome(window=2**32 - 1, max_batch_bytes=2**32 - 1, sent_at_us=1),
        fleet_pb2.Welcome(have=[fleet_pb2.Ack(epoch=2**64 - 1, seq=2**64 - 1)] * 1000),
    ],
)
async def test_no_welcome_stops_a_probe(
    coordinator: Coordinator, tmp_path: Path, welcome: fleet_pb2.Welcome
) -> None:
    """Whatever its numbers: rows are stored and sent, in this session or the next."""
    coordinator.behaviour.first_words = fleet_pb2.Down(welcome=welcome)
    async with online(Vantage(enrolled(tmp_path, coordinator))) as vantage:
        await seen(coordinator, lambda s: bool(s.hellos))
        vantage.add(range(30))
        await seen(coordinator, lambda s: len(s.rows) == 30)
        await emptied(vantage)


async def test_a_coordinators_window_is_not_the_probes_memory(
    coordinator: Coordinator, tmp_path: Path
) -> None:
    """Of a long backlog no more is read than is bearable, whatever the coordinator says that it takes."""
    coordinator.behaviour = Behaviour(window=2**32 - 1, ack=False)
    vantage = Vantage(enrolled(tmp_path, coordinator))
    vantage.add(range(10 * (WINDOW_MAX + 40)))
    await vantage.outbox.flush()
    async with online(vantage):
        await seen(coordinator, lambda s: len(s.batches) >= WINDOW_MAX and len(s.clocks) >= 10)
        assert len(coordinator.seen.batches) == WINDOW_MAX


async def test_plans_are_taken_up_at_a_bearable_pace(
    coordinator: Coordinator, tmp_path: Path
) -> None:
    """A coordinator that has a new one each time cannot keep a probe from measuring, or wear its disk."""
    coordinator.behaviour.plan = PLAN
    async with online(Vantage(enrolled(tmp_path, coordinator))) as vantage:
        await seen(coordinator, lambda s: any(b.plan_version == 7 for b in s.heartbeats))
        begun_s, version = trio.current_time(), PLAN.version
        with trio.move_on_after(1):
            while True:
                if vantage.followed[-1].version == version:
                    version += 1
                    plan = coordinator.authority.sign(replace(PLAN, version=version))
                    coordinator.push(fleet_pb2.Down(plan=plan))
                await trio.lowlevel.checkpoint()
        elapsed_s = trio.current_time() - begun_s
    assert 3 <= version - PLAN.version <= elapsed_s / PLAN_GAP_S + 2


async def test_a_damaged_certificate_is_named_and_stops_nothing(
    coordinator: Coordinator, tmp_path: Path
) -> None:
    """A disk that loses a file costs the link, not the measuring; the log says which file it is."""
    state = enrolled(tmp_path, coordinator)
    (state / "certificate.pem").write_bytes(b"\0" * 700)
    with structlog.testing.capture_logs() as logs:
        async with online(Vantage(state)) as vantage:
            vantage.add(range(5))
            with trio.fail_after(10):
                while len([one for one in logs if one["event"] == "session_ended"]) < 2:
                    await trio.lowlevel.checkpoint()
            assert vantage.outbox.rows == 5
    causes = {entry["cause"] for entry in logs if entry["event"] == "session_ended"}
    assert causes
    assert all("certificate.pem: no certificate in the file" in cause for cause in causes)


async def test_a_machine_that_starts_no_process_keeps_its_session(
    coordinator: Coordinator, tmp_path: Path
) -> None:
    """Out of memory or of processes: the certificate is not renewed now, and the rest goes on."""
    coordinator.behaviour.certificate_life = timedelta(days=1)
    vantage = WithoutProcesses(enrolled(tmp_path, coordinator))
    with structlog.testing.capture_logs() as logs:
        async with online(vantage):
            vantage.add(range(5))
            await seen(coordinator, lambda s: len(s.rows) == 5 and len(s.heartbeats) > 2)
    (told,) = [entry for entry in logs if entry["event"] == "certificate_not_renewed"]
    assert "no process could be started for it (No such file or directory)" in told["cause"]
    assert len(coordinator.seen.hellos) == 1


async def test_a_request_reaches_the_engine(coordinator: Coordinator, tmp_path: Path) -> None:
    """Each is handed on by the number of its check, in order."""
    async with online(Vantage(enrolled(tmp_path, coordinator))) as vantage:
        await seen(coordinator, lambda s: bool(s.hellos))
        for number in (7, 3):
            coordinator.push(fleet_pb2.Down(run=fleet_pb2.Run(check_no=number)))
        with trio.fail_after(10):
            while len(vantage.asked_to_run) < 2:
                await trio.lowlevel.checkpoint()
        assert vantage.asked_to_run == [7, 3]


async def test_a_flood_of_words_is_cut_off(coordinator: Coordinator, tmp_path: Path) -> None:
    """Nobody reads the inbox here: once it is full the stream ends, before memory does."""
    identity = StateDirectory(enrolled(tmp_path, coordinator)).identity()
    async with open_stream(identity.endpoint.fleet[0], identity) as stream:
        stream.send(fleet_pb2.Up(hello=fleet_pb2.Hello()))
        await seen(coordinator, lambda s: len(s.hellos) == 1)
        for _ in range(2 * INBOX_MAX):
            coordinator.push(fleet_pb2.Down(notice=fleet_pb2.Notice(text="x")))
        with trio.fail_after(20):
            while stream.inbox.statistics().open_send_channels:
                await trio.lowlevel.checkpoint()
        assert "faster than anybody" in str(stream.why())
        assert stream.inbox.statistics().current_buffer_used == INBOX_MAX


async def test_an_unknown_message_is_passed_over(coordinator: Coordinator, tmp_path: Path) -> None:
    """A newer coordinator may say more than this probe knows."""
    async with online(Vantage(enrolled(tmp_path, coordinator))) as vantage:
        await seen(coordinator, lambda s: len(s.heartbeats) >= 1)
        coordinator.push(fleet_pb2.Down())
        vantage.add(range(5))
        await seen(coordinator, lambda s: len(s.rows) == 5)
        assert len(coordinator.seen.hellos) == 1
