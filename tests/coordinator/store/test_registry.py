"""Tokens and probes on disk: durable before believed, and the same after a restart."""

from __future__ import annotations

import stat
import threading
from pathlib import Path

import pytest

from coordinator.core.registry import Probe, ProbeState, Vantage
from coordinator.core.tokens import Refused, parse_token
from coordinator.store.registry import Registry, RegistryError

HOSTER = Vantage(asn=64512, country="DE", provider="hoster", labels={"tier": "vps"})
KEY = b"k" * 32


class Clock:
    """A wall clock that a test moves."""

    def __init__(self) -> None:
        self.now_us = 1_000_000

    def __call__(self) -> int:
        return self.now_us


def opened(path: Path, clock: Clock | None = None) -> Registry:
    """The registry of a directory."""
    return Registry(path / "registry.duckdb", wall=clock or Clock())


def token(registry: Registry, name: str = "v01") -> tuple[bytes, bytes]:
    """A new token's id and secret."""
    text, _ = registry.create_token(name=name, vantage=HOSTER, ttl_s=60, ca_key_sha256=KEY)
    token_id, secret, _ = parse_token(text)
    return token_id, secret


def enrolled(registry: Registry, name: str = "v01", csr: bytes = b"csr") -> Probe:
    """A probe, enrolled."""
    token_id, secret = token(registry, name)
    probe = registry.enrol(token_id=token_id, secret=secret, csr_der=csr)
    assert isinstance(probe, Probe)
    return probe


def test_what_was_declared_survives_a_restart(tmp_path: Path) -> None:
    """A probe and its vantage, and an unused token, are found again."""
    registry = opened(tmp_path)
    probe = enrolled(registry)
    waiting = token(registry, "v02")
    registry.close()
    again = opened(tmp_path)
    assert again.probes() == (probe,)
    assert (probe.name, probe.vantage, probe.state) == ("v01", HOSTER, ProbeState.ENROLLED)
    late = again.enrol(token_id=waiting[0], secret=waiting[1], csr_der=b"x")
    assert isinstance(late, Probe)
    again.close()
    assert stat.S_IMODE((tmp_path / "registry.duckdb").stat().st_mode) == 0o600


def test_a_token_is_used_once_also_over_a_restart(tmp_path: Path) -> None:
    """The same key gets the same probe; another key is refused, before and after a restart."""
    registry = opened(tmp_path)
    token_id, secret = token(registry)
    first = registry.enrol(token_id=token_id, secret=secret, csr_der=b"csr")
    registry.close()
    registry = opened(tmp_path)
    assert registry.enrol(token_id=token_id, secret=secret, csr_der=b"csr") == first
    assert isinstance(registry.enrol(token_id=token_id, secret=secret, csr_der=b"other"), Refused)
    assert len(registry.probes()) == 1
    registry.close()


def test_two_keys_that_race_for_a_token_make_one_probe(tmp_path: Path) -> None:
    """However they interleave, one is enrolled and the other refused."""
    registry = opened(tmp_path)
    token_id, secret = token(registry)
    answers: list[Probe | Refused] = []
    threads = [
        threading.Thread(
            target=lambda csr=csr: answers.append(
                registry.enrol(token_id=token_id, secret=secret, csr_der=csr)
            )
        )
        for csr in (b"a", b"b", b"c", b"d")
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(isinstance(answer, Probe) for answer in answers) == [False, False, False, True]
    registry.close()


def test_a_name_belongs_to_one_vantage_point(tmp_path: Path) -> None:
    """Taken by an open token or a live probe; free again after expiry or revocation."""
    clock = Clock()
    registry = opened(tmp_path, clock)
    token(registry)
    with pytest.raises(RegistryError, match="the name 'v01' is taken"):
        token(registry)
    clock.now_us += 61_000_000
    probe = enrolled(registry)
    with pytest.raises(RegistryError, match="the name 'v01' is taken"):
        token(registry)
    registry.set_state(probe.probe_id, ProbeState.REVOKED)
    token(registry)
    registry.close()


def test_a_name_is_made_of_the_tokens_id_when_none_is_given(tmp_path: Path) -> None:
    """Nobody has to think of names for a fleet."""
    registry = opened(tmp_path)
    _, made = registry.create_token(
        name="", vantage=HOSTER, ttl_s=1, ca_key_sha256=KEY, entropy=lambda n: bytes(range(n))
    )
    assert made.name == "v000102"
    registry.close()


def test_a_probe_may_be_called_by_its_name(tmp_path: Path) -> None:
    """What the list shows as a name is enough to quarantine it."""
    registry = opened(tmp_path)
    probe = enrolled(registry)
    assert registry.set_state(probe.name, ProbeState.QUARANTINED).probe_id == probe.probe_id
    registry.close()


def test_a_state_is_set_for_known_probes_and_revocation_is_for_ever(tmp_path: Path) -> None:
    """Quarantine comes and goes; a revoked probe stays so, also over a restart."""
    registry = opened(tmp_path)
    probe = enrolled(registry)
    for state in (ProbeState.QUARANTINED, ProbeState.ENROLLED, ProbeState.REVOKED):
        assert registry.set_state(probe.probe_id, state).state is state
    with pytest.raises(RegistryError, match="revoked for ever"):
        registry.set_state(probe.probe_id, ProbeState.ENROLLED)
    with pytest.raises(RegistryError, match="no probe 'p0'"):
        registry.set_state("p0", ProbeState.REVOKED)
    registry.close()
    again = opened(tmp_path)
    found = again.probe(probe.probe_id)
    assert found is not None
    assert found.state is ProbeState.REVOKED
    again.close()
