from __future__ import annotations

import _ctypes
import datetime as dt
import ssl
import subprocess
import sys
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given
from hypothesis import strategies as st

from probe.exits import Exit, ProbeError
from probe.io import seal, trust
from proto.codec import plan_seal
from proto.model import Plan
from tests.fakes.fleet import Authority

AUTHORITY = Authority()
SECRET = bytes(range(20))


def test_a_token_gives_back_its_parts() -> None:
    """Identifier, secret and pin, whatever blanks a terminal put around them."""
    token = trust.parse_token(f"  {AUTHORITY.token(SECRET)}\n")
    assert (token.token_id, token.secret) == (b"token1", SECRET)
    assert token.pin == trust.pin_of(AUTHORITY.certificate)


@given(text=st.one_of(st.text(), st.text().map(lambda t: "snd1_" + t)))
def test_what_is_no_token_is_refused_with_its_exit_code(text: str) -> None:
    """Any other text is refused, never parsed into something."""
    with pytest.raises(ProbeError) as caught:
        trust.parse_token(text)
    assert caught.value.code is Exit.TOKEN_REFUSED


def test_a_cut_token_is_told_without_its_secret() -> None:
    """The message helps and does not leak."""
    token = AUTHORITY.token(SECRET)
    with pytest.raises(ProbeError, match="cut or mistyped") as caught:
        trust.parse_token(token[:-4])
    assert token[8:30] not in str(caught.value)


def test_only_the_pinned_ca_of_a_chain_is_taken() -> None:
    """Another authority of the same name has another key."""
    der = tuple(map(trust.der_of, (Authority().pem, AUTHORITY.pem)))
    found = trust.pinned_ca(der, trust.pin_of(AUTHORITY.certificate))
    assert found == AUTHORITY.certificate
    assert trust.pinned_ca(der[:1], trust.pin_of(AUTHORITY.certificate)) is None


def library_alone(data: bytes, signature: bytes, *, ca_pem: bytes) -> bool:
    """Where OpenSSL's functions cannot be called: built into Python, or older than 3."""
    return seal.is_signed(data, signature, ca_pem=ca_pem, lib=None)


@pytest.mark.parametrize("signed_by", [trust.is_signed, seal.is_signed, library_alone])
def test_a_plan_must_be_signed_by_a_trusted_key_over_exactly_its_bytes(signed_by: Any) -> None:
    """During a change of CA either of two keys is good; a changed byte or a stranger is not."""
    signed = AUTHORITY.sign(Plan(version=1, checks=()))
    sealed = plan_seal(signed.plan, probe_id=signed.probe_id)
    both = Authority().pem + AUTHORITY.pem
    assert signed_by(sealed, signed.signature, ca_pem=both)
    assert not signed_by(sealed + b"\0", signed.signature, ca_pem=both)
    assert not signed_by(signed.plan, signed.signature, ca_pem=both)
    assert not signed_by(sealed, signed.signature, ca_pem=Authority().pem)
    assert not signed_by(sealed, b"", ca_pem=both)
    assert not signed_by(sealed, signed.signature, ca_pem=b"")
    assert not signed_by(sealed, signed.signature, ca_pem=_pem(b"no certificate"))


@pytest.mark.parametrize("path", [None, "/nowhere/_ssl.so", _ctypes.__file__])
def test_where_openssl_cannot_be_called_the_library_answers(path: str | None) -> None:
    """Built into Python, moved away, or without the functions: found out at once, and not used."""
    lib = seal.openssl(path)
    assert lib is None
    assert seal.lifetime(AUTHORITY.pem, lib=lib) == seal.lifetime(AUTHORITY.pem)


def _pem(content: bytes) -> bytes:
    return ssl.DER_cert_to_PEM_cert(content).encode()


SIGNED = AUTHORITY.sign(Plan(version=1, checks=()))
SEALED = plan_seal(SIGNED.plan, probe_id=SIGNED.probe_id)


@given(
    data=st.one_of(st.just(SEALED), st.binary(max_size=200)),
    signature=st.one_of(st.just(SIGNED.signature), st.binary(max_size=80)),
    place=st.integers(0, 600),
    bit=st.integers(0, 7),
)
def test_both_ways_of_checking_a_signature_agree(
    data: bytes, signature: bytes, place: int, bit: int
) -> None:
    """Whatever the bytes: OpenSSL called directly says what the library says."""
    bent = bytearray(signature)
    if place < len(bent):
        bent[place] ^= 1 << bit
    asked = {"data": data, "signature": bytes(bent), "ca_pem": AUTHORITY.pem}
    assert seal.is_signed(**asked) == trust.is_signed(**asked)


def test_both_ways_of_reading_a_lifetime_agree() -> None:
    """The dates of a certificate, to the second, in UTC; nonsense is an error, not a date."""
    assert seal.lifetime(AUTHORITY.pem) == trust.lifetime(AUTHORITY.pem)
    for nonsense in (b"", _pem(b"no certificate")):
        with pytest.raises(ValueError, match="certificate"):
            seal.lifetime(nonsense)


def test_a_running_probe_does_without_the_library() -> None:
    """Nine megabytes for as long as it lives, for what it needs once a week."""
    look = "import sys, probe.cli, probe.io.seal as s; print('cryptography' in sys.modules, s.openssl() is None)"
    ran = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True)
    assert ran.stdout == "False False\n"


def test_a_request_carries_the_key_and_its_proof() -> None:
    """The CSR is signed by the key that it names."""
    request = x509.load_der_x509_csr(trust.csr_der(trust.new_key_pem()))
    assert request.is_signature_valid


def test_a_key_of_another_kind_is_named() -> None:
    """Someone put an Ed25519 key into the state directory."""
    key = ed25519.Ed25519PrivateKey.generate()
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    with pytest.raises(ProbeError, match="P-256"):
        trust.sign(pem, b"")


def test_a_certificate_is_renewed_from_half_its_life_on() -> None:
    """Before its time, in time, past half, ended."""
    begins = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    life = seal.Lifetime(begins, begins + dt.timedelta(days=10))
    day = dt.timedelta(days=1)
    assert not life.begun(begins - day)
    assert [life.renewal_due(begins + n * day) for n in (4, 5)] == [False, True]
    assert [life.ended(begins + n * day) for n in (9, 10)] == [False, True]
