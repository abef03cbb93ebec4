"""A change of CA under live sessions: nobody is cut off, everybody follows, and the old one ends."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from coordinator.app import wall_us
from coordinator.cli import main
from coordinator.core.registry import Vantage
from coordinator.core.tokens import parse_token
from coordinator.exits import CoordinatorError
from coordinator.rotation import Rotation
from coordinator.rpc.authority import PREVIOUS, as_datetime, key_sha256, open_authority
from coordinator.rpc.requests import AuthorityError
from coordinator.store.registry import Registry
from proto.codec import plan_seal
from proto.gen import fleet_pb2
from tests.coordinator.test_end_to_end import enrolled, measuring
from tests.fakes.coordinators import House, a_coordinator
from tests.fakes.fleet_client import Credentials, Line, csr_of, recover, renew, session
from tests.fakes.reports import batch_of, body_of, row

DAY_US = 86_400_000_000


def now_us() -> int:
    """The wall clock."""
    return time.time_ns() // 1000


def keys_of(*bundles: bytes) -> set[bytes]:
    """The keys of the authorities in some bundles."""
    return {key_sha256(one) for pem in bundles for one in ca_of(pem)}


def ca_of(pem: bytes) -> list[x509.Certificate]:
    """The authorities of a bundle."""
    return x509.load_pem_x509_certificates(pem)


async def plan_signer(line: Line, bundle: bytes) -> list[bool]:
    """Greet; which authorities of a bundle signed the plan that comes."""
    await line.send(hello=fleet_pb2.Hello(boot_id="b", epoch=7, sent_at_us=now_us()))
    await line.receive("welcome")
    signed = await line.receive("plan")
    sealed = plan_seal(signed.plan, probe_id=signed.probe_id)
    return [_is_by(one, signed.signature, sealed) for one in ca_of(bundle)]


def _is_by(authority: x509.Certificate, signature: bytes, data: bytes) -> bool:
    key = authority.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    try:
        key.verify(signature, data, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        return False
    return True


async def follow(house: House, probe: Credentials) -> Credentials:
    """Renew as a probe does: the same key, and the bundle that comes with the certificate."""
    reply = await renew(house.fleet, probe, csr_of(load_pem_private_key(probe.key, None)))
    return replace(probe, certificate=reply.certificate_pem, ca=reply.ca_pem)


async def report(line: Line, seq: int) -> None:
    """One report, and its acknowledgement."""
    await line.send(batch=batch_of(body_of([row(1, now_us())]), seq=seq))
    assert (await line.receive("ack")).seq == seq


def test_a_change_of_ca_from_beginning_to_end(tmp_path: Path) -> None:
    """The old session goes on, a new one by the old certificate gets in, its renewal brings both
    authorities; a newcomer knows the new one alone; when all have followed the old one ends.
    """

    async def scenario() -> None:
        async with a_coordinator(tmp_path) as house:
            old = await house.probe()
            async with session(house.fleet, old.channel()) as line:
                await line.hello(sent_at_us=now_us())
                await report(line, 1)
                state = await house.operator.rotate_authority()
                assert len(state["behind"]) == 1
                await report(line, 2)
                new_ca = house.ca
                assert new_ca != old.ca
                async with session(house.fleet, old.channel()) as again:
                    assert await plan_signer(again, old.ca) == [True]
                    await report(again, 3)
            followed = await follow(house, old)
            assert keys_of(followed.ca) == keys_of(new_ca, old.ca)
            trusted, vouched = ca_of(followed.ca)
            vouched.verify_directly_issued_by(trusted)
            newcomer = await house.probe()
            assert newcomer.ca == new_ca
            for probe in (followed, newcomer):
                async with session(house.fleet, probe.channel()) as line:
                    assert await plan_signer(line, new_ca) == [True]
            assert (await house.operator.show_authority())["behind"] == []
            again = await follow(house, followed)
            assert again.ca == new_ca
            state = await house.operator.retire_authority(force=False)
            assert state["previous_key_sha256"] is None
            async with session(house.fleet, again.channel()) as line:
                await line.hello(sent_at_us=now_us())
            async with session(house.fleet, old.channel()) as line:
                assert (await line.ended()).code is grpc.StatusCode.UNAVAILABLE
            assert not (house.runtime.data_dir / "ca" / PREVIOUS).exists()

    asyncio.run(scenario())


def test_an_old_key_in_wrong_hands_is_ended_at_once(tmp_path: Path) -> None:
    """Without --force the old CA stays while somebody needs it, who is named; with it his session is cut."""

    async def scenario() -> None:
        async with a_coordinator(tmp_path) as house:
            probe = await house.probe()
            await house.token()
            async with session(house.fleet, probe.channel()) as line:
                await line.hello(sent_at_us=now_us())
                await house.operator.rotate_authority()
                with pytest.raises(CoordinatorError, match="a change of CA is under way"):
                    await house.operator.rotate_authority()
                with pytest.raises(CoordinatorError, match=r"v\w+ and 1 open tokens still need"):
                    await house.operator.retire_authority(force=False)
                await house.operator.retire_authority(force=True)
                ended = await line.ended()
                assert ended.code is grpc.StatusCode.PERMISSION_DENIED
                assert ended.details == "the CA of this probe's certificate was retired"
            with pytest.raises(grpc.aio.AioRpcError, match="proof of its key is not good"):
                await recover(house.enrol_door, replace(probe, ca=house.ca), sent_at_us=wall_us())
            with pytest.raises(CoordinatorError, match="there is no old CA"):
                await house.operator.retire_authority(force=True)

    asyncio.run(scenario())


def test_a_probe_that_was_away_comes_back_through_the_change(tmp_path: Path) -> None:
    """Its expired certificate is of the old CA: it recovers, and learns of the new one."""
    shift = [0]

    async def scenario() -> None:
        async with a_coordinator(tmp_path, wall=lambda: wall_us() + shift[0]) as house:
            away = await house.probe()
            await house.operator.rotate_authority()
            shift[0] = 20 * DAY_US
            back = await recover(house.enrol_door, away, sent_at_us=wall_us())
            assert keys_of(back.ca) == keys_of(house.ca, away.ca)

    asyncio.run(scenario())


def test_the_old_ca_ends_by_itself(tmp_path: Path) -> None:
    """When nobody needs it, or when all that it signed has expired beyond recovery; not before."""
    shift = [0]
    registry = Registry(tmp_path / "registry.duckdb", wall=lambda: wall_us() + shift[0])
    authority = open_authority(tmp_path / "ca", now=_now(shift[0]))
    text, token = registry.create_token(
        name="a", vantage=Vantage(), ttl_s=3600, ca_key_sha256=authority.key_sha256
    )
    registry.enrol(token_id=token.token_id, secret=parse_token(text)[1], csr_der=b"csr")
    shift[0] = 10 * DAY_US
    rotation = Rotation(authority, registry, wall=lambda: wall_us() + shift[0])

    async def look() -> bool:
        await rotation.look()
        return authority.previous is None

    async def scenario() -> None:
        assert await look()
        await rotation.rotate()
        assert not await look()
        registry.note_shown(token.probe_id, ca_us=rotation.standing().began_at_us)
        assert await look()
        shift[0] += DAY_US
        await rotation.rotate()
        shift[0] += 43 * DAY_US
        assert not await look()
        shift[0] += 2 * DAY_US
        assert await look()

    asyncio.run(scenario())
    registry.close()


@pytest.mark.parametrize("written", [1, 2])
def test_a_change_that_a_crash_broke_off_is_finished_or_undone(
    tmp_path: Path, written: int
) -> None:
    """Wherever it fell, there is one CA that signs, and what the old one signed is still good."""
    authority = open_authority(tmp_path, now=_now())
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    authority.rotate(now=_now())
    order = [PREVIOUS, "key.pem", "certificate.pem"]
    for name in order[written:]:
        (tmp_path / name).write_bytes(before[name])
    found = open_authority(tmp_path, now=_now())
    if written == 1:
        assert found.previous is None
        assert found.certificate_pem == before["certificate.pem"]
        assert not (tmp_path / PREVIOUS).exists()
    else:
        assert found.key_sha256 == authority.key_sha256
        assert found.previous is not None
        old, new = ca_of(found.bundle(is_old=True))
        new.verify_directly_issued_by(old)
        assert found.previous.pem == before["certificate.pem"]


def test_a_change_outlives_a_restart(tmp_path: Path) -> None:
    """Both authorities are there again, with both keys, readable by their owner alone."""
    open_authority(tmp_path, now=_now()).rotate(now=_now())
    found = open_authority(tmp_path, now=_now())
    assert found.previous is not None
    assert (tmp_path / PREVIOUS).stat().st_mode & 0o777 == 0o600
    with pytest.raises(AuthorityError, match="under way"):
        found.rotate(now=_now())
    found.retire()
    assert open_authority(tmp_path, now=_now()).previous is None


def test_the_commands_work_on_the_files_of_a_stopped_coordinator(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Show, rotate, show, retire; each says which keys are trusted."""

    def ask(*words: str) -> Any:
        assert main(["ca", *words, "--json", "--data", str(tmp_path)]) == 0
        return json.loads(capsys.readouterr().out)

    first = ask("show")
    rotated = ask("rotate")
    assert rotated["previous_key_sha256"] == first["key_sha256"]
    assert main(["ca", "show", "--data", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert first["key_sha256"] in said
    assert "need it: 0 probes" in said
    assert ask("retire")["key_sha256"] == rotated["key_sha256"]
    assert main(["ca", "show", "--data", str(tmp_path)]) == 0
    assert "no other CA is trusted" in capsys.readouterr().out
    assert main(["ca", "retire", "--data", str(tmp_path)]) == 2


def test_a_real_probe_follows(tmp_path: Path) -> None:
    """A probe process renews under the new CA while its session goes on, keeps both authorities, and is
    let in by the new one when it starts again; then nobody needs the old.
    """

    async def scenario() -> None:
        async with a_coordinator(tmp_path) as house:
            state = tmp_path / "probe"
            await enrolled(house, state)
            connects = "SELECT count(*) FROM sessions WHERE what = '{}'"
            with measuring(state):
                await house.until(connects.format("connect"), [(1,)])
                await house.operator.rotate_authority()
                assert house.ask(connects.format("disconnect")) == [(0,)]
            await house.until(connects.format("disconnect"), [(1,)])
            # Eight days on by its own clock it is time to renew.
            (state / "probe.toml").write_text("clock_offset_s = 691200.0\n", encoding="utf-8")
            with measuring(state):
                await house.until(connects.format("connect"), [(2,)])
                await _until(lambda: len(ca_of((state / "ca.pem").read_bytes())) == 2)
                assert house.ask(connects.format("disconnect")) == [(1,)]
            with measuring(state):
                await house.until(connects.format("connect"), [(3,)])
                assert (await house.operator.show_authority())["behind"] == []
            kept = (state / "log").read_text(encoding="utf-8")
            assert "plan_refused" not in kept

    async def _until(holds: Any) -> None:
        async with asyncio.timeout(20):
            while not holds():
                await asyncio.wait([asyncio.create_task(asyncio.to_thread(_touch, tmp_path))])

    asyncio.run(scenario())


def _touch(path: Path) -> None:
    (path / "waiting").touch()


def _now(shift_us: int = 0) -> datetime:
    return as_datetime(wall_us() + shift_us)
