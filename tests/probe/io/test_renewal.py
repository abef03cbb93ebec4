from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from probe.exits import Exit, ProbeError
from probe.io import renewal, trust
from probe.io.state import Endpoint, Identity, StateDirectory
from tests.fakes.fleet import Authority

OURS: Final = Authority()
FOREIGN: Final = Authority()
KEY_PEM: Final = trust.new_key_pem()
NAME: Final = "spiffe://soundings/probe/probe-1"


def leaf(authority: Authority = OURS, *, key_pem: bytes = KEY_PEM, name: str = NAME) -> bytes:
    """A probe's certificate."""
    return authority.issue(
        load_pem_private_key(key_pem, None).public_key(),
        san=x509.UniformResourceIdentifier(name),
        server=False,
        life=dt.timedelta(days=14),
    )


def enrolled(path: Path) -> StateDirectory:
    """The state of a probe that trusts OURS."""
    state = StateDirectory(path)
    state.make()
    state.write("key.pem", KEY_PEM)
    state.write("csr.der", trust.csr_der(KEY_PEM))
    state.write("ca.pem", OURS.pem)
    state.save_endpoint(Endpoint(probe_id="probe-1", enrol="a.test:1", fleet=("a.test:2",)))
    state.write("certificate.pem", leaf())
    return state


def files(state: StateDirectory) -> dict[str, bytes]:
    """Everything on disk."""
    return {path.name: path.read_bytes() for path in state.path.iterdir()}


BAD: Final[dict[str, tuple[Callable[[], bytes], Callable[[], bytes], str]]] = {
    "foreign CA": (lambda: leaf(FOREIGN), lambda: FOREIGN.pem, "none of ca.pem signed"),
    "foreign beside": (leaf, lambda: OURS.pem + FOREIGN.pem, "none of ca.pem signed"),
    "a leaf as CA": (leaf, leaf, "none of ca.pem signed"),
    "bad bundle": (leaf, lambda: b"nonsense", "cannot be read"),
    "bad leaf": (lambda: b"nonsense", lambda: b"", "cannot be read"),
    "no leaf": (lambda: b"", lambda: b"", "cannot be read"),
    "two leaves": (lambda: leaf() * 2, lambda: b"", "2 certificates"),
    "foreign leaf": (lambda: leaf(FOREIGN), lambda: b"", "not signed by"),
    "another key": (lambda: leaf(key_pem=trust.new_key_pem()), lambda: b"", "another key"),
    "another name": (lambda: leaf(name=NAME + "2"), lambda: b"", "names"),
    "the CA itself": (lambda: OURS.pem, lambda: b"", "another key"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_renewal_that_is_not_ours_changes_nothing(case: str, tmp_path: Path) -> None:
    """The pin of the token outlives every reply that has no claim to it."""
    certificate, bundle, why = BAD[case]
    state = enrolled(tmp_path)
    before = files(state)
    with pytest.raises(ProbeError, match=why) as caught:
        renewal.take(state, state.identity(), certificate_pem=certificate(), ca_pem=bundle())
    assert caught.value.code is Exit.WRONG_PIN
    assert files(state) == before


@pytest.mark.parametrize("bundle", [b"", OURS.pem])
def test_a_renewal_under_the_same_authority_is_taken(bundle: bytes, tmp_path: Path) -> None:
    """A new certificate, the bundle as it was."""
    state, renewed = enrolled(tmp_path), leaf()
    renewal.take(state, state.identity(), certificate_pem=renewed, ca_pem=bundle)
    identity = state.identity()
    assert (identity.certificate_pem, identity.ca_pem) == (renewed, OURS.pem)


class CrashError(Exception):
    """The machine went down."""


class FrailState(StateDirectory):
    """A state directory whose machine goes down before a given write."""

    def __init__(self, path: Path, *, writes: int) -> None:
        super().__init__(path)
        self.writes = writes

    def write(self, name: str, content: bytes) -> None:
        if self.writes == 0:
            raise CrashError
        self.writes -= 1
        super().write(name, content)


def is_usable(identity: Identity) -> bool:
    """Whether the certificate on disk is signed by one that the bundle beside it holds."""
    own = x509.load_pem_x509_certificate(identity.certificate_pem)
    for authority in x509.load_pem_x509_certificates(identity.ca_pem):
        try:
            own.verify_directly_issued_by(authority)
        except InvalidSignature:
            continue
        return True
    return False


@pytest.mark.parametrize("writes", range(4))
def test_a_change_of_authority_is_usable_wherever_it_breaks_off(
    writes: int, tmp_path: Path
) -> None:
    """A CA that the old one signed is taken; after a crash the pair on disk still fits."""
    enrolled(tmp_path)
    state, following = FrailState(tmp_path, writes=writes), OURS.successor()
    renewed = leaf(following)
    try:
        renewal.take(state, state.identity(), certificate_pem=renewed, ca_pem=following.pem)
    except CrashError:
        assert writes < 3
    else:
        assert state.identity().certificate_pem == renewed
        assert state.identity().ca_pem == following.pem
    assert is_usable(state.identity())
