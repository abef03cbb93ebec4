"""Enrolment tokens: one text that proves the probe to the coordinator and the coordinator to it.

    snd1_ base64url( id 6 bytes | secret 20 bytes | pin 20 bytes )

The secret is stored hashed, so a stolen registry enrols nobody. The pin is the SHA-256 of the CA's
public key, cut to 20 bytes: the probe compares it with the chain the server shows before it sends
the secret, so a token pasted into a terminal is enough to be sure of whom one talks to. A token is
used up by the first key that brings it, and answers that same key again: a reply lost on the way
must not cost an operator a new token.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from dataclasses import dataclass
from typing import Final

from coordinator.core.registry import Vantage

PREFIX: Final = "snd1_"
ID_BYTES: Final = 6
SECRET_BYTES: Final = 20
PIN_BYTES: Final = 20

TTL_S_DEFAULT: Final = 24 * 3600
"""A day: long enough to copy it to a VPS, short enough to be worthless in an old shell history."""

TTL_S_MAX: Final = 30 * 24 * 3600
"""A month; whoever needs longer makes a new one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """What the coordinator keeps of a token. `used_by` is the SHA-256 of the CSR that used it."""

    token_id: bytes
    secret_sha256: bytes
    name: str
    vantage: Vantage
    created_at_us: int
    expires_at_us: int
    used_by: bytes | None = None

    @property
    def probe_id(self) -> str:
        """The probe that this token makes: known before it is used, so that a retry is the same."""
        return f"p{self.token_id.hex()}"


@dataclass(frozen=True, slots=True)
class Granted:
    """The token is good for this key. `again` = it was used by the same key before."""

    token: Token
    again: bool


@dataclass(frozen=True, slots=True)
class Refused:
    """The token is not good, and why; only who knows the secret is told more than `unknown`."""

    reason: str


def token_text(*, token_id: bytes, secret: bytes, ca_key_sha256: bytes) -> str:
    """The text that an operator copies."""
    raw = token_id + secret + ca_key_sha256[:PIN_BYTES]
    return PREFIX + base64.urlsafe_b64encode(raw).decode().rstrip("=")


def parse_token(text: str) -> tuple[bytes, bytes, bytes]:
    """Identifier, secret and pin of a token's text.

    Raises ValueError when it is not one.
    """
    body = text.removeprefix(PREFIX)
    try:
        raw = base64.urlsafe_b64decode(body + "=" * (-len(body) % 4))
    except binascii.Error as error:
        raise ValueError("a token is base64url after its prefix") from error
    if not text.startswith(PREFIX) or len(raw) != ID_BYTES + SECRET_BYTES + PIN_BYTES:
        raise ValueError(f"a token begins with {PREFIX} and holds 46 bytes")
    return raw[:ID_BYTES], raw[ID_BYTES:-PIN_BYTES], raw[-PIN_BYTES:]


def redeem(token: Token | None, *, secret: bytes, csr_der: bytes, now_us: int) -> Granted | Refused:
    """May the key of this CSR enrol with this token?"""
    stored = token.secret_sha256 if token else bytes(32)
    right = hmac.compare_digest(hashlib.sha256(secret).digest(), stored)
    if token is None or not right:
        return Refused("token unknown")
    csr_sha256 = hashlib.sha256(csr_der).digest()
    if token.used_by is not None:
        if token.used_by == csr_sha256:
            return Granted(token, again=True)
        return Refused("token already used by another key")
    if now_us >= token.expires_at_us:
        return Refused("token expired")
    return Granted(token, again=False)
