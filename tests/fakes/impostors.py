"""Attackers who are not who they should be, and probes that mean ill: each returns what it got to hear."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from coordinator.core.registry import Vantage
from coordinator.rpc.authority import as_datetime, open_authority
from coordinator.rpc.guard import CALLS, NOTES
from proto.gen import fleet_pb2
from tests.fakes.fleet_client import (
    csr_of,
    enrol,
    key_pem,
    new_key,
    session,
)
from tests.fakes.reports import SECOND_US, batch_of, body_of, row
from tests.fakes.siege import (
    CUT,
    SESSION,
    STRANGERS,
    Outcome,
    RawCalls,
    Siege,
    closed,
    connected,
    framed,
    now_us,
    rows_of,
    status_of,
)

# --- who is not who he should be ------------------------------------------------------------------


async def _knock(siege: Siege, credentials: grpc.ChannelCredentials) -> Outcome:
    async with session(siege.house.fleet, credentials) as line:
        ended = await line.ended()
    if ended.code is grpc.StatusCode.UNAVAILABLE:
        return CUT
    return ended.code, ended.details


async def _with(siege: Siege, certificate: x509.Certificate, key: Any) -> Outcome:
    pem = certificate.public_bytes(Encoding.PEM)
    return await _knock(siege, grpc.ssl_channel_credentials(siege.house.ca, key_pem(key), pem))


async def no_certificate(siege: Siege) -> Outcome:
    return await _knock(siege, grpc.ssl_channel_credentials(siege.house.ca))


async def foreign_certificate(siege: Siege) -> Outcome:
    key, now = new_key(), as_datetime(now_us())
    other = open_authority(siege.path / "other", now=now)
    return await _with(siege, other.issue_probe(csr_of(key), "p1", now=now), key)


async def expired_certificate(siege: Siege) -> Outcome:
    key, then = new_key(), as_datetime(now_us() - 15 * 86_400 * SECOND_US)
    probe_id = siege.good.credentials.probe_id
    ours = siege.house.runtime.authority
    return await _with(siege, ours.issue_probe(csr_of(key), probe_id, now=then), key)


async def server_certificate(siege: Siege) -> Outcome:
    ours = siege.house.runtime.authority
    key, chain = ours.issue_server(("127.0.0.1",), now=as_datetime(now_us()))
    return await _knock(siege, grpc.ssl_channel_credentials(siege.house.ca, key, chain))


async def two_identities(siege: Siege) -> Outcome:
    key, now = new_key(), as_datetime(now_us())
    names: list[x509.GeneralName] = [
        x509.UniformResourceIdentifier(f"spiffe://soundings/probe/{each}")
        for each in (siege.good.credentials.probe_id, "p2")
    ]
    certificate = siege.house.runtime.authority._issue(
        key.public_key(),
        "x",
        names,
        usage=ExtendedKeyUsageOID.CLIENT_AUTH,
        until=now.replace(year=2099),
        now=now,
    )
    return await _with(siege, certificate, key)


async def never_enrolled(siege: Siege) -> Outcome:
    key, now = new_key(), as_datetime(now_us())
    ours = siege.house.runtime.authority
    return await _with(siege, ours.issue_probe(csr_of(key), "pnobody", now=now), key)


async def revoked_certificate(siege: Siege) -> Outcome:
    probe = await siege.house.probe()
    await siege.house.operator.revoke(probe.probe_id)
    return await _knock(siege, probe.channel())


async def _enrol(siege: Siege, token: str) -> Outcome:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await enrol(siege.house.enrol_door, token, siege.house.ca)
    return caught.value.code(), caught.value.details() or ""


async def replayed_token(siege: Siege) -> Outcome:
    token = await siege.house.token()
    await enrol(siege.house.enrol_door, token, siege.house.ca)
    return await _enrol(siege, token)


async def expired_token(siege: Siege) -> Outcome:
    text, _ = siege.house.runtime.registry.create_token(
        name="",
        vantage=Vantage(),
        ttl_s=-1,
        ca_key_sha256=siege.house.runtime.authority.key_sha256,
    )
    return await _enrol(siege, text)


# --- probes that mean ill -------------------------------------------------------------------------


async def replayed_batch(siege: Siege) -> Outcome:
    """Acknowledged again, so that the sender drops it, and stored once."""
    probe = await siege.house.probe()
    batch = batch_of(body_of([row(1, now_us())]))
    for _ in range(2):
        async with session(siege.house.fleet, probe.channel()) as line:
            await line.hello(sent_at_us=now_us())
            await line.send(batch=batch)
            assert (await line.receive("ack")).seq == 1
    assert len(rows_of(siege, "batches", probe)) == 1
    return CUT


async def another_probes_name(siege: Siege) -> Outcome:
    """The epoch and number of another's report name one of one's own, and take nothing from hers."""
    thief, owner = await siege.house.probe(), await siege.house.probe()
    for probe in (thief, owner):
        async with session(siege.house.fleet, probe.channel()) as line:
            await line.hello(sent_at_us=now_us())
            await line.send(batch=batch_of(body_of([row(1, now_us())]), seq=9))
            assert (await line.receive("ack")).seq == 9
    assert [len(rows_of(siege, "batches", probe)) for probe in (thief, owner)] == [1, 1]
    return CUT


async def _reject(siege: Siege, batch: fleet_pb2.Batch) -> Outcome:
    probe = await siege.house.probe()
    async with session(siege.house.fleet, probe.channel()) as line:
        await line.hello(sent_at_us=now_us())
        await line.send(batch=batch)
        reason: str = (await line.receive("reject")).reason
    await siege.until(
        lambda: [one["reason"] for one in rows_of(siege, "rejects", probe)] == [reason]
    )
    return None, reason


async def future_epoch(siege: Siege) -> Outcome:
    return await _reject(siege, batch_of(body_of([row(1, now_us())]), epoch=8))


async def foreign_check(siege: Siege) -> Outcome:
    return await _reject(siege, batch_of(body_of([row(99, now_us())])))


async def thousands_of_sessions(siege: Siege) -> Outcome:
    probe = await siege.house.probe()
    for _ in range(CALLS.burst):
        async with session(siege.house.fleet, probe.channel()) as line:
            await line.hello(sent_at_us=now_us())
    return await _knock(siege, probe.channel())


async def thousands_of_heartbeats(siege: Siege) -> Outcome:
    probe = await siege.house.probe()
    hello = fleet_pb2.Hello(boot_id="b", sent_at_us=now_us(), epoch=7)
    beat = fleet_pb2.Up(heartbeat=fleet_pb2.Heartbeat(sent_at_us=now_us())).SerializeToString()
    async with connected(siege.house.fleet, siege.tls(probe)) as (reader, writer):
        calls = RawCalls(reader, writer)
        stream = calls.begin(SESSION)
        beats = framed(beat) * NOTES.burst * 20
        await calls.say_all(stream, framed(fleet_pb2.Up(hello=hello).SerializeToString()) + beats)
        status, words = await calls.ended(stream)
    assert len(rows_of(siege, "heartbeats", probe)) <= NOTES.burst * 2
    return status_of(status), words


async def thousands_of_streams(siege: Siege) -> Outcome:
    """Opened and given up at once, 3,000 of them, over one connection."""
    probe = await siege.house.probe()
    async with connected(siege.house.fleet, siege.tls(probe)) as (reader, writer):
        calls = RawCalls(reader, writer)
        await calls.flush()
        await calls.hear()
        for _ in range(3000):
            calls.reset(calls.begin(SESSION))
        await calls.flush()
        stream = calls.begin(SESSION)
        await calls.flush()
        status, words = await calls.ended(stream)
    return status_of(status), words


async def thousands_of_connections(siege: Siege) -> Outcome:
    """2,000 silent ones of one source: all but its share go, and a newcomer beside them is served."""
    before = siege.refused("fleet", "source_full")
    host, _, port = siege.house.fleet.rpartition(":")
    opened = [await asyncio.open_connection(host, int(port)) for _ in range(2000)]
    try:
        newcomer = await siege.house.probe()
        async with session(siege.house.fleet, newcomer.channel()) as line:
            await line.hello(sent_at_us=now_us())
        await asyncio.gather(*(closed(reader) for reader, _ in opened))
    finally:
        for _, writer in opened:
            writer.transport.abort()
    assert siege.refused("fleet", "source_full") >= before + 2000 - STRANGERS - 900
    return CUT
