"""Whom the probe trusts, and how it proves who it is: token, key, certificate, signed plan.

Nothing here opens a socket. The token pins the coordinator's CA by the hash of its public key, so
an enrolment needs no other trust; the key never leaves this machine; plans must be signed by a key
of `ca.pem`, so that whoever sits in between (or took over the fleet port) cannot make probes
contact anything.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from dataclasses import dataclass
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import NameOID

from probe.exits import Exit, ProbeError
from probe.io.seal import Lifetime

TOKEN_PREFIX: Final = "snd1_"  # noqa: S105  # the public beginning of a token, not one
_ID_BYTES: Final = 6
_SECRET_BYTES: Final = 20
_PIN_BYTES: Final = 20


@dataclass(frozen=True, slots=True)
class Token:
    """The three parts of an enrolment token; it holds no address."""

    token_id: bytes
    secret: bytes
    pin: bytes  # SHA-256 of the CA's SubjectPublicKeyInfo, first 20 bytes


def parse_token(text: str) -> Token:
    """Raises ProbeError (token refused) that names what is wrong, never the secret."""
    text = text.strip()
    if not text.startswith(TOKEN_PREFIX):
        raise ProbeError(
            f"token: it starts with {text[:5]!r}; a token starts with {TOKEN_PREFIX!r}; "
            "copy the whole line that `soundings coordinator token create` printed",
            code=Exit.TOKEN_REFUSED,
        )
    coded = text.removeprefix(TOKEN_PREFIX)
    try:
        raw = base64.b64decode(coded + "=" * (-len(coded) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    wanted = _ID_BYTES + _SECRET_BYTES + _PIN_BYTES
    if len(raw) != wanted:
        raise ProbeError(
            f"token: {len(text)} characters do not hold the {wanted} bytes of a token; "
            "it was cut or mistyped: copy the whole line again",
            code=Exit.TOKEN_REFUSED,
        )
    cut = _ID_BYTES + _SECRET_BYTES
    return Token(raw[:_ID_BYTES], raw[_ID_BYTES:cut], raw[cut:])


def pin_of(certificate: x509.Certificate) -> bytes:
    """What a token would pin of this certificate."""
    key = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(key).digest()[:_PIN_BYTES]


def pinned_ca(chain_der: tuple[bytes, ...], pin: bytes) -> x509.Certificate | None:
    """The certificate of a server's chain that the token pins; None = another coordinator."""
    for der in chain_der:
        certificate = x509.load_der_x509_certificate(der)
        if hmac.compare_digest(pin_of(certificate), pin):
            return certificate
    return None


def new_key_pem() -> bytes:
    """A fresh P-256 key; Ed25519 fails in gRPC's handshake (measured)."""
    key = ec.generate_private_key(ec.SECP256R1())
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def csr_der(key_pem: bytes) -> bytes:
    """A request for a certificate of this key; every name comes from the coordinator."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "soundings-probe")])
    builder = x509.CertificateSigningRequestBuilder().subject_name(name)
    return builder.sign(_key(key_pem), hashes.SHA256()).public_bytes(Encoding.DER)


def sign(key_pem: bytes, data: bytes) -> bytes:
    """ECDSA with SHA-256, for the proof of an expired certificate's key."""
    return _key(key_pem).sign(data, ec.ECDSA(hashes.SHA256()))


def _key(key_pem: bytes) -> ec.EllipticCurvePrivateKey:
    key = load_pem_private_key(key_pem, None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ProbeError(
            "key.pem: it holds no P-256 key; remove it and enrol again", code=Exit.STATE_UNUSABLE
        )
    return key


def is_signed(data: bytes, signature: bytes, *, ca_pem: bytes) -> bool:
    """Whether any certificate of `ca.pem` signed exactly these bytes."""
    try:
        certificates = x509.load_pem_x509_certificates(ca_pem)
    except ValueError:
        return False
    for certificate in certificates:
        key = certificate.public_key()
        if isinstance(key, ec.EllipticCurvePublicKey):
            try:
                key.verify(signature, data, ec.ECDSA(hashes.SHA256()))
            except InvalidSignature:
                continue
            return True
    return False


def lifetime(certificate_pem: bytes) -> Lifetime:
    """When the first certificate of a PEM file is valid, in UTC."""
    return lifetime_of(x509.load_pem_x509_certificate(certificate_pem))


def lifetime_of(certificate: x509.Certificate) -> Lifetime:
    """When a certificate is valid, in UTC."""
    return Lifetime(certificate.not_valid_before_utc, certificate.not_valid_after_utc)


def der_of(certificate_pem: bytes) -> bytes:
    """The first certificate of a PEM file as DER."""
    return x509.load_pem_x509_certificate(certificate_pem).public_bytes(Encoding.DER)


def pem_of(certificate: x509.Certificate) -> bytes:
    """A certificate as it lies in `ca.pem`."""
    return certificate.public_bytes(Encoding.PEM)
