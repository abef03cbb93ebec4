"""Attackers who say nothing, or nonsense: each returns what it got to hear."""

from __future__ import annotations

import asyncio
import random
import zlib
from typing import Final

import grpc
import pytest

from proto.gen import enrolment_pb2, fleet_pb2
from tests.fakes.fleet_client import (
    Credentials,
    Line,
    session,
)
from tests.fakes.reports import SECOND_US, batch_of, body_of, row
from tests.fakes.siege import (
    CUT,
    ENROL,
    SESSION,
    Outcome,
    RawCalls,
    Siege,
    client_hello,
    closed,
    connected,
    framed,
    now_us,
    rows_of,
    status_of,
)

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SETTINGS: Final = bytes(3) + b"\x04" + bytes(5)
FLIPS: Final = 3000

# --- who says nothing -----------------------------------------------------------------------------


async def silent_tcp(siege: Siege) -> Outcome:
    async with connected(siege.house.fleet) as (reader, _):
        assert not await closed(reader)
    return CUT


async def silent_at_enrolment(siege: Siege) -> Outcome:
    async with connected(siege.house.enrol_door) as (reader, _):
        assert not await closed(reader)
    return CUT


async def half_a_handshake(siege: Siege) -> Outcome:
    async with connected(siege.house.fleet) as (reader, writer):
        writer.write(client_hello()[:99])
        assert not await closed(reader)
    return CUT


async def handshake_then_silence(siege: Siege) -> Outcome:
    async with connected(siege.house.fleet, siege.tls(siege.good.credentials)) as (reader, _):
        await closed(reader)
    return CUT


async def settings_then_silence(siege: Siege) -> Outcome:
    async with connected(siege.house.fleet, siege.tls(siege.good.credentials)) as (reader, writer):
        writer.write(PREFACE + SETTINGS)
        await closed(reader)
    return CUT


async def slow_drip(siege: Siege) -> Outcome:
    async with connected(siege.house.fleet) as (reader, writer):
        gone = asyncio.create_task(closed(reader))
        for byte in client_hello():
            writer.write(bytes([byte]))
            await asyncio.wait([gone], timeout=0.05)
            if gone.done():
                return CUT
    raise AssertionError("it could say all of it")


async def slow_drip_of_a_hello(siege: Siege) -> Outcome:
    probe = await siege.house.probe()
    hello = framed(
        fleet_pb2.Up(hello=fleet_pb2.Hello(boot_id="b" * 60, epoch=1)).SerializeToString()
    )
    async with connected(siege.house.fleet, siege.tls(probe)) as (reader, writer):
        calls = RawCalls(reader, writer)
        stream = calls.begin(SESSION)
        await calls.flush()
        ended = asyncio.create_task(calls.ended(stream))
        for byte in hello[:-1]:
            if ended.done():
                break
            calls.say(stream, bytes([byte]))
            await calls.flush()
            await asyncio.wait([ended], timeout=0.05)
        status, words = await ended
    return status_of(status), words


async def plain_http(siege: Siege) -> Outcome:
    async with connected(siege.house.fleet) as (reader, writer):
        writer.write(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        await closed(reader)
    return CUT


# --- who says nonsense ----------------------------------------------------------------------------


async def random_frames(siege: Siege) -> Outcome:
    chance = random.Random(4)
    context = siege.tls(siege.good.credentials)

    async def one() -> None:
        async with connected(siege.house.fleet, context) as (reader, writer):
            writer.write(PREFACE + SETTINGS)
            for _ in range(30):
                size = chance.randrange(40)
                head = size.to_bytes(3, "big") + chance.randbytes(6)
                writer.write(head + chance.randbytes(size))
            await closed(reader)

    await asyncio.gather(*(one() for _ in range(20)))
    return CUT


async def _say(siege: Siege, up: bytes, *, compressed: bool, probe: Credentials) -> Outcome:
    async with connected(siege.house.fleet, siege.tls(probe)) as (reader, writer):
        calls = RawCalls(reader, writer)
        stream = calls.begin(SESSION, encoding="gzip" if compressed else None)
        await calls.say_all(stream, framed(up, compressed=compressed))
        status, words = await calls.ended(stream)
    return status_of(status), words


async def oversized_message(siege: Siege) -> Outcome:
    probe = await siege.house.probe()
    up = fleet_pb2.Up(batch=fleet_pb2.Batch(body=bytes(3 << 20))).SerializeToString()
    return await _say(siege, up, compressed=False, probe=probe)


async def oversized_enrolment(siege: Siege) -> Outcome:
    async with connected(siege.house.enrol_door, siege.tls(None)) as (reader, writer):
        calls = RawCalls(reader, writer)
        stream = calls.begin(ENROL)
        request = enrolment_pb2.EnrolRequest(secret=bytes(1 << 20)).SerializeToString()
        await calls.say_all(stream, framed(request), last=True)
        status, words = await calls.ended(stream)
    return status_of(status), words


def _bomb(size: int) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    piece = bytes(1 << 20)
    return b"".join(packer.compress(piece) for _ in range(size >> 20)) + packer.flush()


async def compression_bomb(siege: Siege) -> Outcome:
    probe = await siege.house.probe()
    return await _say(siege, _bomb(256 << 20), compressed=True, probe=probe)


async def oversized_metadata(siege: Siege) -> Outcome:
    probe = await siege.house.probe()
    async with grpc.aio.secure_channel(
        siege.house.fleet,
        probe.channel(),
        (("grpc.ssl_target_name_override", "soundings-coordinator"),),
    ) as channel:
        call = channel.unary_unary("/soundings.v1.FleetService/Renew")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(b"", metadata=(("x", "y" * 100_000),), timeout=20)
    return caught.value.code(), ""


async def flipped_bits(siege: Siege) -> Outcome:
    """Every report is acknowledged or rejected, and each rejected one is a row."""
    chance = random.Random(9)
    probes = [await siege.house.probe() for _ in range(10)]
    rows = [row(n % 4 + 1, now_us() - n * SECOND_US, rtt_us_min=n) for n in range(5)]
    body = body_of(rows)

    async def one(probe: Credentials) -> tuple[int, int]:
        async with session(siege.house.fleet, probe.channel()) as line:
            await line.hello(sent_at_us=now_us())
            answers = asyncio.create_task(_answers(line, last=FLIPS // 10))
            for seq in range(1, FLIPS // 10 + 1):
                flipped = bytearray(body)
                for _ in range(chance.randrange(1, 4)):
                    flipped[chance.randrange(len(body))] ^= 1 << chance.randrange(8)
                batch = batch_of(bytes(flipped), seq=seq, rows=5, pack=False)
                await line.send(batch=batch)
            return await answers

    told = await asyncio.gather(*(one(probe) for probe in probes))
    rejected = sum(rejects for rejects, _ in told)
    assert rejected > FLIPS // 2
    await siege.until(lambda: sum(len(rows_of(siege, "rejects", p)) for p in probes) == rejected)
    assert sum(len(rows_of(siege, "batches", p)) for p in probes) == FLIPS - rejected
    return CUT


async def _answers(line: Line, *, last: int) -> tuple[int, int]:
    """How many were rejected, and the highest acknowledged, once every report is answered."""
    rejected, acked = set(), 0
    while len(rejected) + len(set(range(1, acked + 1)) - rejected) < last:
        message = await line.next()
        if message.WhichOneof("message") == "reject":
            rejected.add(message.reject.seq)
        elif message.WhichOneof("message") == "ack":
            acked = max(acked, message.ack.seq)
    return len(rejected), acked
