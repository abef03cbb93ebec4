"""Tokens: what they hold, and whom they let in."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator.core.registry import Vantage
from coordinator.core.tokens import Granted, Refused, Token, parse_token, redeem, token_text

SECRET = b"s" * 20
CSR = b"a certificate request"
TOKEN = Token(
    token_id=b"abcdef",
    secret_sha256=hashlib.sha256(SECRET).digest(),
    name="v01",
    vantage=Vantage(asn=64512),
    created_at_us=0,
    expires_at_us=1000,
)
USED = replace(TOKEN, used_by=hashlib.sha256(CSR).digest())


@given(
    st.binary(min_size=6, max_size=6),
    st.binary(min_size=20, max_size=20),
    st.binary(min_size=32, max_size=32),
)
def test_a_token_survives_copying(token_id: bytes, secret: bytes, key_sha256: bytes) -> None:
    """What is printed is what is read, pin cut to 20 bytes, 67 characters without padding."""
    text = token_text(token_id=token_id, secret=secret, ca_key_sha256=key_sha256)
    assert parse_token(text) == (token_id, secret, key_sha256[:20])
    assert len(text) == 67


@pytest.mark.parametrize("text", ["", "snd1_", "snd1_AAAA", "snd2_" + "A" * 62, "snd1_" + "A" * 61])
def test_what_is_no_token_is_refused(text: str) -> None:
    """A torn copy is noticed before anything is sent."""
    with pytest.raises(ValueError, match="a token"):
        parse_token(text)


def test_a_token_enrols_the_first_key_and_that_one_again() -> None:
    """A lost reply costs nothing: the same request is granted again, also after the expiry."""
    assert redeem(TOKEN, secret=SECRET, csr_der=CSR, now_us=0) == Granted(TOKEN, again=False)
    assert redeem(USED, secret=SECRET, csr_der=CSR, now_us=2000) == Granted(USED, again=True)


@pytest.mark.parametrize(
    ("token", "secret", "csr", "now_us", "reason"),
    [
        (None, SECRET, CSR, 0, "token unknown"),
        (TOKEN, b"x" * 20, CSR, 0, "token unknown"),
        (TOKEN, b"", CSR, 0, "token unknown"),
        (USED, b"x" * 20, CSR, 0, "token unknown"),
        (USED, SECRET, b"another request", 0, "token already used by another key"),
        (TOKEN, SECRET, CSR, 1000, "token expired"),
    ],
)
def test_anything_else_is_refused_with_its_reason(
    token: Token | None, secret: bytes, csr: bytes, now_us: int, reason: str
) -> None:
    """Only who knows the secret learns more than that the token is unknown."""
    answer = redeem(token, secret=secret, csr_der=csr, now_us=now_us)
    assert isinstance(answer, Refused)
    assert answer.reason.startswith(reason)


def test_a_token_names_its_probe_beforehand() -> None:
    """The probe's id comes from the token's, so that a retry makes the same probe."""
    assert TOKEN.probe_id == "p616263646566"
