"""Identity: who gets in by certificate, who no longer does, and one session for each."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from coordinator.rpc.authority import as_datetime, open_authority
from proto.gen import fleet_pb2
from tests.fakes.coordinators import House, a_coordinator
from tests.fakes.fleet_client import csr_of, key_pem, new_key, renew, session
from tests.fakes.reports import SECOND_US, batch_of, body_of, row


def now_us() -> int:
    """The wall clock."""
    return time.time_ns() // 1000


def test_a_revoked_probe_is_cut_off_at_once_and_for_ever(tmp_path: Path) -> None:
    """Its live session ends with PERMISSION_DENIED, and so does every later one."""

    async def scenario() -> None:
        async with a_coordinator(tmp_path) as house:
            probe = await house.probe()
            async with session(house.fleet, probe.channel()) as line:
                _, plan = await line.hello(sent_at_us=now_us())
                beat = fleet_pb2.Heartbeat(sent_at_us=now_us(), plan_version=plan.version)
                await line.send(heartbeat=beat)
                await house.until("SELECT count(*) FROM plans", [(4,)])
                text = await house.operator.revoke(probe.probe_id)
                assert "is revoked; its rows stay" in text
                ended = await line.ended()
                assert ended.code is grpc.StatusCode.PERMISSION_DENIED
                assert ended.details == "this probe was revoked"
            async with session(house.fleet, probe.channel()) as line:
                assert (await line.ended()).code is grpc.StatusCode.PERMISSION_DENIED
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await renew(house.fleet, probe, csr_of(new_key()))
            assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED
            await house.until("SELECT count(until_at) FROM plans", [(4,)])
            await house.until("SELECT count(*) FROM sessions WHERE what = 'refused'", [(2,)])

    asyncio.run(scenario())


def test_only_certificates_of_our_own_authority_get_in(tmp_path: Path) -> None:
    """None, another CA's, an expired one, a server's, and one that names two probes are refused."""

    async def scenario() -> None:
        async with a_coordinator(tmp_path) as house:
            probe = await house.probe()
            ours, now = house.runtime.authority, as_datetime(now_us())
            key = new_key()
            other = open_authority(tmp_path / "other", now=now)
            foreign = other.issue_probe(csr_of(key), probe.probe_id, now=now)
            expired = ours.issue_probe(
                csr_of(key), probe.probe_id, now=as_datetime(now_us() - 15 * 86_400 * SECOND_US)
            )
            names: list[x509.GeneralName] = [
                x509.UniformResourceIdentifier(f"spiffe://soundings/probe/{each}")
                for each in (probe.probe_id, "p2")
            ]
            two = ours._issue(
                key.public_key(), "x", names,
                usage=ExtendedKeyUsageOID.CLIENT_AUTH, until=expired.not_valid_after_utc.replace(year=2099), now=now,
            )  # fmt: skip
            for certificate in (foreign, expired, two):
                credentials = grpc.ssl_channel_credentials(
                    house.ca, key_pem(key), certificate.public_bytes(Encoding.PEM)
                )
                await refused(house, credentials)
            server_key, chain = ours.issue_server(("127.0.0.1",), now=now)
            await refused(house, grpc.ssl_channel_credentials(house.ca, server_key, chain))
            await refused(house, grpc.ssl_channel_credentials(house.ca))

    asyncio.run(scenario())


async def refused(house: House, credentials: grpc.ChannelCredentials) -> None:
    """These credentials open no session."""
    async with session(house.fleet, credentials) as line:
        ended = await line.ended()
    assert ended.code in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.PERMISSION_DENIED}


def test_a_certificate_is_renewed_for_the_same_identity(tmp_path: Path) -> None:
    """Another key, the same probe; what is no request is refused with the reason."""

    async def scenario() -> None:
        async with a_coordinator(tmp_path) as house:
            probe = await house.probe()
            reply = await renew(house.fleet, probe, csr_of(new_key()))
            certificate = x509.load_pem_x509_certificate(reply.certificate_pem)
            names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
            assert names.value.get_values_for_type(x509.UniformResourceIdentifier) == [
                f"spiffe://soundings/probe/{probe.probe_id}"
            ]
            assert reply.ca_pem == house.ca
            with pytest.raises(grpc.aio.AioRpcError, match="the CSR does not parse"):
                await renew(house.fleet, probe, b"no request")

    asyncio.run(scenario())


def test_the_newest_session_of_a_probe_is_the_one(tmp_path: Path) -> None:
    """A second session ends the first: a ruin, or a copy of the key."""

    async def scenario() -> None:
        async with a_coordinator(tmp_path) as house:
            probe = await house.probe()
            async with session(house.fleet, probe.channel()) as first:
                await first.hello(sent_at_us=now_us())
                async with session(house.fleet, probe.channel()) as second:
                    await second.hello(sent_at_us=now_us())
                    ended = await first.ended()
                    assert (ended.code, ended.details) == (
                        grpc.StatusCode.ABORTED,
                        "another session took over",
                    )
                    await second.send(batch=batch_of(body_of([row(1, now_us())])))
                    await second.receive("ack")

    asyncio.run(scenario())


def test_a_session_that_misses_its_heartbeats_is_ended(tmp_path: Path) -> None:
    """Three beats of silence end it, and the silence is recorded as one."""
    shift_us = [0]

    def wall() -> int:
        return now_us() + shift_us[0]

    async def scenario() -> None:
        async with a_coordinator(tmp_path, wall=wall) as house:
            probe = await house.probe()
            async with session(house.fleet, probe.channel()) as line:
                _, plan = await line.hello(sent_at_us=now_us())
                shift_us[0] = round(3.1 * plan.heartbeat_s * SECOND_US)
                ended = await line.ended()
                assert (ended.code, ended.details) == (grpc.StatusCode.UNAVAILABLE, "silent")
            await house.until("SELECT count(*) FROM sessions WHERE what = 'silent'", [(1,)])

    asyncio.run(scenario())
