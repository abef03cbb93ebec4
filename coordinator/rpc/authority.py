"""The coordinator's own certificate authority, in `DIR/ca/`: one P-256 key, nothing leaves it.

Probes trust nothing else: the enrolment token pins this key, server certificates chain to it, plans
are signed by it. Certificates are back-dated two days, for VPS clocks, and short-lived, for
revocation does not depend on lists: the coordinator asks its registry at every session.
"""

from __future__ import annotations

import hashlib
import ipaddress
import os
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives import serialization as ser
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from coordinator.core.registry import SPIFFE_PREFIX
from proto.model import SoundingsError

SERVER_NAME: Final = "soundings-coordinator"
"""The name that every server certificate carries and every probe asks for, whatever the address."""

BACKDATED: Final = timedelta(days=2)
CA_LIFE: Final = timedelta(days=3650)
SERVER_LIFE: Final = timedelta(days=90)
PROBE_LIFE: Final = timedelta(days=14)
"""Renewed at half life, so a probe may be away for a week and come back without a word."""

RECOVERY_LIFE: Final = timedelta(days=30)
"""After expiry a probe may still prove its old key; longer away, it needs a new token."""

RECOVERY_MESSAGE: Final = b"soundings-recover"


class AuthorityError(SoundingsError):
    """A certificate request or an old certificate that is not good enough, and why."""


class Authority:
    """Signs certificates and plans. `wall` gives microseconds since 1970 UTC."""

    def __init__(self, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate) -> None:
        self._key = key
        self.certificate = certificate
        self.certificate_pem = certificate.public_bytes(ser.Encoding.PEM)
        self.key_sha256 = key_sha256(certificate)

    def sign(self, data: bytes) -> bytes:
        """ECDSA P-256 with SHA-256 over exactly these bytes."""
        return self._key.sign(data, ec.ECDSA(hashes.SHA256()))

    def issue_server(self, names: Iterable[str], *, now: datetime) -> tuple[bytes, bytes]:
        """A fresh key and a chain (leaf, CA) as PEM; the CA is in it so that a pin can be checked."""
        key = ec.generate_private_key(ec.SECP256R1())
        leaf = self._issue(
            key.public_key(),
            SERVER_NAME,
            [_general_name(name) for name in dict.fromkeys((SERVER_NAME, *names))],
            usage=ExtendedKeyUsageOID.SERVER_AUTH,
            until=now + SERVER_LIFE,
            now=now,
        )
        return _key_pem(key), leaf.public_bytes(ser.Encoding.PEM) + self.certificate_pem

    def check_csr(self, csr_der: bytes) -> None:
        """Raises AuthorityError when a certificate cannot be made of this CSR."""
        _key_of(csr_der)

    def issue_probe(self, csr_der: bytes, probe_id: str, *, now: datetime) -> x509.Certificate:
        """A certificate for the key of a CSR; every name in it comes from here.

        Raises AuthorityError when the CSR is no good.
        """
        return self._issue(
            _key_of(csr_der),
            f"probe {probe_id}",
            [x509.UniformResourceIdentifier(SPIFFE_PREFIX + probe_id)],
            usage=ExtendedKeyUsageOID.CLIENT_AUTH,
            until=now + PROBE_LIFE,
            now=now,
        )

    def probe_of_expired(
        self,
        certificate_der: bytes,
        *,
        csr_der: bytes,
        sent_at_us: int,
        signature: bytes,
        now: datetime,
    ) -> str:
        """The probe that proves the key of its old certificate, not longer ago than RECOVERY_LIFE.

        Raises AuthorityError when it proves nothing.
        """
        try:
            old = x509.load_der_x509_certificate(certificate_der)
            old.verify_directly_issued_by(self.certificate)
            key = old.public_key()
            if not isinstance(key, ec.EllipticCurvePublicKey):
                raise AuthorityError("the old certificate's key is of another kind")
            message = RECOVERY_MESSAGE + csr_der + sent_at_us.to_bytes(8, "big", signed=True)
            key.verify(signature, message, ec.ECDSA(hashes.SHA256()))
        except (ValueError, TypeError, OverflowError, InvalidSignature) as error:
            raise AuthorityError(
                "the old certificate or the proof of its key is not good"
            ) from error
        if now - old.not_valid_after_utc > RECOVERY_LIFE:
            raise AuthorityError(
                f"it expired more than {RECOVERY_LIFE.days} days ago; use a new token"
            )
        return _spiffe_id(old)

    def _issue(
        self,
        key: ec.EllipticCurvePublicKey,
        common_name: str,
        names: list[x509.GeneralName],
        *,
        usage: x509.ObjectIdentifier,
        until: datetime,
        now: datetime,
    ) -> x509.Certificate:
        authority_key = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        return (
            x509.CertificateBuilder()
            .subject_name(_common_name(common_name))
            .issuer_name(self.certificate.subject)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - BACKDATED)
            .not_valid_after(until)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
            .add_extension(authority_key, critical=False)
            .sign(self._key, hashes.SHA256())
        )


def open_authority(directory: Path, *, now: datetime) -> Authority:
    """Load the CA of a data directory, or make one at the first start.

    The key alone is enough: its certificate is made anew, and what the old one signed stays good.
    Raises AuthorityError when there is a certificate without its key: a new key would lock every
    probe out.
    """
    key_file, certificate_file = directory / "key.pem", directory / "certificate.pem"
    try:
        if not key_file.exists() and not certificate_file.exists():
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_private(key_file, _key_pem(ec.generate_private_key(ec.SECP256R1())))
        key = ser.load_pem_private_key(key_file.read_bytes(), password=None)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise AuthorityError(f"{key_file} is not the key of a soundings CA")
        if not certificate_file.exists():
            made = _self_signed(key, now=now)
            write_private(certificate_file, made.public_bytes(ser.Encoding.PEM))
        certificate = x509.load_pem_x509_certificate(certificate_file.read_bytes())
    except (OSError, ValueError) as error:
        raise AuthorityError(
            f"{directory}: the CA cannot be read ({error}); bring its files back from a backup, or "
            f"move the directory away and enrol every probe anew"
        ) from error
    if key.public_key() != certificate.public_key():
        raise AuthorityError(f"{key_file} is not the key of {certificate_file}")
    return Authority(key, certificate)


def _self_signed(key: ec.EllipticCurvePrivateKey, *, now: datetime) -> x509.Certificate:
    name = _common_name("soundings coordinator CA")
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATED)
        .not_valid_after(now + CA_LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_CA_USAGE, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )


def write_private(path: Path, data: bytes) -> None:
    """Write a file that only its owner may read, whole or not at all."""
    temporary = path.with_suffix(path.suffix + ".new")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def key_sha256(certificate: x509.Certificate) -> bytes:
    """SHA-256 of a certificate's SubjectPublicKeyInfo: what a token pins, in its first 20 bytes."""
    spki = certificate.public_key().public_bytes(
        ser.Encoding.DER, ser.PublicFormat.SubjectPublicKeyInfo
    )
    return hashlib.sha256(spki).digest()


def as_datetime(stamp_us: int) -> datetime:
    """A wall-clock stamp as a certificate needs it."""
    return datetime.fromtimestamp(stamp_us / 1_000_000, tz=UTC)


_CA_USAGE: Final = x509.KeyUsage(
    digital_signature=True,  # plans are signed with it
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=True,
    crl_sign=True,
    encipher_only=False,
    decipher_only=False,
)


def _key_of(csr_der: bytes) -> ec.EllipticCurvePublicKey:
    try:
        csr = x509.load_der_x509_csr(csr_der)
        valid = csr.is_signature_valid
        key = csr.public_key()
    except (ValueError, TypeError, InvalidSignature) as error:
        raise AuthorityError("the CSR does not parse") from error
    if not valid:
        raise AuthorityError("the CSR is not signed by its own key")
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise AuthorityError("the CSR's key is not P-256")
    return key


def _spiffe_id(certificate: x509.Certificate) -> str:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (ValueError, x509.ExtensionNotFound) as error:
        raise AuthorityError("the old certificate names no probe") from error
    uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    if len(uris) != 1 or not uris[0].startswith(SPIFFE_PREFIX):
        raise AuthorityError("the old certificate names no probe")
    return uris[0].removeprefix(SPIFFE_PREFIX)


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _common_name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(ser.Encoding.PEM, ser.PrivateFormat.PKCS8, ser.NoEncryption())
