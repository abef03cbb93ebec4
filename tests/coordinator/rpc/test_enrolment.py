"""The enrolment door: who gets a certificate, who does not, and why."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from coordinator.app import wall_us
from coordinator.core.tokens import PREFIX, parse_token, token_text
from coordinator.rpc.authority import open_authority
from coordinator.rpc.enrolment import FAILURES
from proto.gen import enrolment_pb2, enrolment_pb2_grpc
from tests.fakes.coordinators import House, a_coordinator
from tests.fakes.fleet_client import (
    OPTIONS,
    ask_enrolment,
    csr_of,
    enrol,
    new_key,
    recover,
    session,
)

DAY_US = 86_400_000_000


async def refusal(house: House, token: str, key: object = None) -> tuple[grpc.StatusCode, str]:
    """How an enrolment is refused."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await enrol(house.enrol_door, token, house.ca, key=key)
    return caught.value.code(), caught.value.details() or ""


def test_a_token_is_used_up_by_one_key(tmp_path: Path) -> None:
    """The same key may ask again after a lost reply; another key is refused with the reason."""

    async def scenario() -> None:
        async with a_coordinator(tmp_path) as house:
            token, key = await house.token(), new_key()
            first = await enrol(house.enrol_door, token, house.ca, key=key)
            token_id, secret, _ = parse_token(token)
            csr = csr_of(key)
            again = await house.token()
            again_id, again_secret, _ = parse_token(again)
            for identifier, text in ((again_id, again_secret), (again_id, again_secret)):
                request = enrolment_pb2.EnrolRequest(token_id=identifier, secret=text, csr_der=csr)
                reply = await ask_enrolment(house.enrol_door, house.ca, "Enrol", request)
                assert reply.probe_id == f"p{again_id.hex()}"
            assert first.probe_id == f"p{token_id.hex()}"
            assert secret != again_secret
            code, details = await refusal(house, token)
            assert code is grpc.StatusCode.UNAUTHENTICATED
            assert details == "token already used by another key"

    asyncio.run(scenario())


def test_a_certificate_is_backdated_and_short_lived(tmp_path: Path) -> None:
    """Two days back for wrong clocks, 14 days of life, the coordinator's clock in the reply."""

    async def scenario() -> None:
        async with a_coordinator(tmp_path) as house:
            probe = await house.probe()
            certificate = x509.load_pem_x509_certificate(probe.certificate)
            certificate.verify_directly_issued_by(house.runtime.authority.certificate)
            now_s = time.time_ns() / 1e9
            assert 1.9 < (now_s - certificate.not_valid_before_utc.timestamp()) / 86_400 < 2.1
            assert 13.9 < (certificate.not_valid_after_utc.timestamp() - now_s) / 86_400 < 14.1

    asyncio.run(scenario())


def test_a_bad_token_or_request_is_refused_with_its_reason(tmp_path: Path) -> None:
    """Unknown, wrong secret, expired, a key of another kind, no request at all."""
    shift = [0]

    def wall() -> int:
        return wall_us() + shift[0]

    async def scenario() -> None:
        async with a_coordinator(tmp_path, wall=wall) as house:
            token = await house.token()
            token_id, _, _ = parse_token(token)
            key_sha256 = house.runtime.authority.key_sha256
            for unknown in (
                token_text(token_id=token_id, secret=b"x" * 20, ca_key_sha256=key_sha256),
                token_text(token_id=b"nobody", secret=b"x" * 20, ca_key_sha256=key_sha256),
            ):
                assert (await refusal(house, unknown))[1].startswith("token unknown")
            code, details = await refusal(house, token, ec.generate_private_key(ec.SECP384R1()))
            assert (code, details) == (
                grpc.StatusCode.INVALID_ARGUMENT, "the CSR's key is not P-256",
            )  # fmt: skip
            for csr, reason in (
                (b"nonsense", "the CSR does not parse"),
                (bytes(5000), "the CSR is longer than 4096 bytes"),
            ):
                request = enrolment_pb2.EnrolRequest(token_id=token_id, csr_der=csr)
                with pytest.raises(grpc.aio.AioRpcError, match=reason):
                    await ask_enrolment(house.enrol_door, house.ca, "Enrol", request)
            shift[0] = 3601 * 1_000_000
            assert (await refusal(house, token))[1].startswith("token expired")
            shift[0] = 0
            await enrol(house.enrol_door, token, house.ca)

    asyncio.run(scenario())


def test_a_revoked_probe_gets_nothing_from_its_old_token(tmp_path: Path) -> None:
    """Neither its token nor its old certificate brings it back."""

    async def scenario() -> None:
        async with a_coordinator(tmp_path) as house:
            token, key = await house.token(), new_key()
            probe = await enrol(house.enrol_door, token, house.ca, key=key)
            await house.operator.revoke(probe.probe_id)
            with pytest.raises(grpc.aio.AioRpcError, match="this probe was revoked"):
                await recover(house.enrol_door, probe, sent_at_us=wall_us())

    asyncio.run(scenario())


def test_an_enrolment_waits_for_the_store(tmp_path: Path) -> None:
    """An enrolment that cannot be recorded is put off and not refused: UNAVAILABLE, with the reason."""

    async def scenario() -> None:
        async with a_coordinator(tmp_path) as house:
            token = await house.token()
            await house.runtime.store.stop()
            code, details = await refusal(house, token)
            assert code is grpc.StatusCode.UNAVAILABLE
            assert details.startswith("the store takes nothing at the moment: ")

    asyncio.run(scenario())


def test_guessing_tokens_is_slowed_down(tmp_path: Path) -> None:
    """After so many refusals an address is told to wait, and heard again when it has waited."""
    begun_us, shift = wall_us(), [0]

    async def scenario() -> None:
        async with a_coordinator(tmp_path, wall=lambda: begun_us + shift[0]) as house:
            request = enrolment_pb2.EnrolRequest(token_id=b"x", csr_der=b"x")
            credentials = grpc.ssl_channel_credentials(house.ca)
            async with grpc.aio.secure_channel(house.enrol_door, credentials, OPTIONS) as channel:
                stub = enrolment_pb2_grpc.EnrolmentServiceStub(channel)
                codes = [await _code(stub, request) for _ in range(FAILURES.burst)]
                assert set(codes) == {grpc.StatusCode.INVALID_ARGUMENT}
                assert await _code(stub, request) is grpc.StatusCode.RESOURCE_EXHAUSTED
                shift[0] = round(1_000_000 / FAILURES.per_s)
                assert await _code(stub, request) is grpc.StatusCode.INVALID_ARGUMENT
            assert house.runtime.refusals.counts["enrol", "too_often"] == 1

    asyncio.run(scenario())


async def _code(stub: Any, request: enrolment_pb2.EnrolRequest) -> grpc.StatusCode:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.Enrol(request)
    code: grpc.StatusCode = caught.value.code()
    return code


def test_an_expired_certificate_is_exchanged_for_a_fresh_one(tmp_path: Path) -> None:
    """The old key's signature is enough for 30 days; after that, or by another key, it is not."""
    shift = [0]

    def wall() -> int:
        return wall_us() + shift[0]

    async def scenario() -> None:
        async with a_coordinator(tmp_path, wall=wall) as house:
            probe = await house.probe()
            with pytest.raises(grpc.aio.AioRpcError, match="proof of its key is not good"):
                await recover(house.enrol_door, probe, sent_at_us=wall_us(), signing_key=new_key())
            shift[0] = 43 * DAY_US
            fresh = await recover(house.enrol_door, probe, sent_at_us=wall_us())
            assert fresh.probe_id == probe.probe_id
            shift[0] = 44 * DAY_US + DAY_US // 2
            with pytest.raises(grpc.aio.AioRpcError, match="expired more than 30 days ago"):
                await recover(house.enrol_door, probe, sent_at_us=wall_us())

    asyncio.run(scenario())


def test_a_certificate_of_another_authority_recovers_nothing(tmp_path: Path) -> None:
    """Proof of a key that we never signed proves nothing."""

    async def scenario() -> None:
        async with a_coordinator(tmp_path) as house:
            probe = await house.probe()
            now = house.runtime.authority.certificate.not_valid_before_utc
            other = open_authority(tmp_path / "other", now=now)
            der = other.certificate.public_bytes(Encoding.DER)
            request = enrolment_pb2.RecoverRequest(
                expired_certificate_der=der, csr_der=csr_of(new_key()), signature=b"x"
            )
            with pytest.raises(grpc.aio.AioRpcError, match="is not good"):
                await ask_enrolment(house.enrol_door, probe.ca, "Recover", request)

    asyncio.run(scenario())


def test_the_enrolment_door_opens_no_session(tmp_path: Path) -> None:
    """The fleet service does not exist where no certificate is asked for."""

    async def scenario() -> None:
        async with a_coordinator(tmp_path) as house:
            probe = await house.probe()
            async with session(house.enrol_door, probe.channel()) as line:
                assert (await line.ended()).code is grpc.StatusCode.UNIMPLEMENTED

    asyncio.run(scenario())


def test_a_token_pins_this_authority_and_is_kept_hashed(tmp_path: Path) -> None:
    """The pin is the CA's key, and the secret is in no file."""

    async def scenario() -> str:
        async with a_coordinator(tmp_path) as house:
            token = await house.token()
            assert parse_token(token)[2] == house.runtime.authority.key_sha256[:20]
            return token

    token = asyncio.run(scenario())
    secret = parse_token(token)[1]
    files = [path for path in (tmp_path / "d").rglob("*") if path.is_file()]
    assert len(files) >= 4
    assert not any(secret in path.read_bytes() for path in files)
    assert token.startswith(PREFIX)
