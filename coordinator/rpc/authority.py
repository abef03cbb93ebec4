"""The coordinator's own certificate authority, in `DIR/ca/`: one P-256 key, or two while it changes.

Probes trust nothing else: the enrolment token pins this key, server certificates chain to it, plans
are signed by it. Certificates are back-dated two days, for VPS clocks, and short-lived, for
revocation does not depend on lists: the coordinator asks its registry at every session.

A change of CA cuts nobody off. The old key signs the certificate of the new one, so whoever trusts the
old follows: the server's chain leads through the new to the old. Everything new is signed by the new. A
probe learns of it with its next renewal; until it shows a certificate of the new one, its plans are
signed by the old. The old one is kept in `previous.pem`, and its key ends with that file.
"""

from __future__ import annotations

import hashlib
import ipaddress
import os
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives import serialization as ser
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from coordinator.copying import sync_directory
from coordinator.core.registry import SPIFFE_PREFIX
from coordinator.rpc.requests import AuthorityError, key_of, spiffe_id

SERVER_NAME: Final = "soundings-coordinator"
"""The name that every server certificate carries and every probe asks for, whatever the address."""

BACKDATED: Final = timedelta(days=2)
CA_LIFE: Final = timedelta(days=3650)
SERVER_LIFE: Final = timedelta(days=90)
PROBE_LIFE: Final = timedelta(days=14)
"""Renewed at half life, so a probe may be away for a week and come back without a word."""

RECOVERY_LIFE: Final = timedelta(days=30)
"""After expiry a probe may still prove its old key; longer away, it needs a new token."""

PREVIOUS: Final = "previous.pem"
"""Key and certificate of the CA that is being replaced."""

RECOVERY_MESSAGE: Final = b"soundings-recover"


@dataclass(frozen=True, slots=True)
class CA:
    """A key that signs, and its certificate."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @property
    def pem(self) -> bytes:
        """The certificate."""
        return self.certificate.public_bytes(ser.Encoding.PEM)

    @property
    def key_sha256(self) -> bytes:
        """What a token pins, in its first 20 bytes."""
        return key_sha256(self.certificate)

    def issued(self, certificate: x509.Certificate) -> bool:
        """Did this key sign it?"""
        try:
            certificate.verify_directly_issued_by(self.certificate)
        except (ValueError, TypeError, InvalidSignature):
            return False
        return True


class Authority:
    """Signs certificates and plans, as one CA or as the new one of two."""

    def __init__(self, directory: Path, current: CA, previous: CA | None) -> None:
        self._directory = directory
        self._current = current
        self.previous = previous
        self._vouched = _vouched(current, previous)

    @property
    def certificate(self) -> x509.Certificate:
        """Of the CA that signs what is new."""
        return self._current.certificate

    @property
    def certificate_pem(self) -> bytes:
        """The same as PEM."""
        return self._current.pem

    @property
    def key_sha256(self) -> bytes:
        """Of its key: what new tokens pin."""
        return self._current.key_sha256

    @property
    def trusted_pem(self) -> bytes:
        """Every CA whose certificates get in."""
        return self._current.pem + (self.previous.pem if self.previous else b"")

    @property
    def _chain_pem(self) -> bytes:
        """The CAs that the server sends: that the old vouches for the new, or the one that there is."""
        if self.previous is None:
            return self._current.pem
        return self._vouched + self.previous.pem

    @property
    def began_at(self) -> datetime:
        """When the CA that signs what is new was made."""
        return self.certificate.not_valid_before_utc + BACKDATED

    def bundle(self, *, is_old: bool) -> bytes:
        """What a probe is told to trust. One that trusts the old CA (`is_old`) gets both, the new one as the
        old vouches for it; any other the new one as it stands alone, which every TLS library takes.
        """
        if is_old and self.previous is not None:
            return self.previous.pem + self._vouched
        return self._current.pem

    def is_old(self, certificate: x509.Certificate) -> bool:
        """Is this certificate, which is one of ours, of the CA that is being replaced?"""
        return self.previous is not None and self.previous.issued(certificate)

    def rotate(self, *, now: datetime) -> None:
        """Make a new CA, and keep the old one beside it. Streams and certificates stay good.

        Raises AuthorityError when a change is under way.
        """
        if self.previous is not None:
            raise AuthorityError(
                "a change of CA is under way; end it first with `soundings coordinator ca retire`"
            )
        old, key = self._current, ec.generate_private_key(ec.SECP256R1())
        new = CA(key, _certified(key, by=None, now=now))
        # Whatever is written when a crash falls, open_authority finishes it.
        write_private(self._directory / PREVIOUS, _key_pem(old.key) + old.pem)
        write_private(self._directory / "key.pem", _key_pem(key))
        write_private(self._directory / "certificate.pem", new.pem)
        self._current, self.previous = new, old
        self._vouched = _vouched(new, old)

    def retire(self) -> None:
        """End the old CA: its certificates get nobody in any more, and its key is removed."""
        (self._directory / PREVIOUS).unlink(missing_ok=True)
        sync_directory(self._directory)
        self.previous, self._vouched = None, b""

    def sign(self, data: bytes, *, is_old: bool = False) -> bytes:
        """ECDSA P-256 with SHA-256 over exactly these bytes; by the old CA for who knows no other."""
        signer = self.previous if is_old and self.previous is not None else self._current
        return signer.key.sign(data, ec.ECDSA(hashes.SHA256()))

    def issue_server(self, names: Iterable[str], *, now: datetime) -> tuple[bytes, bytes]:
        """A fresh key and a chain as PEM: leaf and every CA, so that any token's pin can be checked."""
        key = ec.generate_private_key(ec.SECP256R1())
        leaf = self._issue(
            key.public_key(),
            SERVER_NAME,
            [_general_name(name) for name in dict.fromkeys((SERVER_NAME, *names))],
            usage=ExtendedKeyUsageOID.SERVER_AUTH,
            until=now + SERVER_LIFE,
            now=now,
        )
        return _key_pem(key), leaf.public_bytes(ser.Encoding.PEM) + self._chain_pem

    def check_csr(self, csr_der: bytes) -> None:
        """Raises AuthorityError when a certificate cannot be made of this CSR."""
        key_of(csr_der)

    def issue_probe(self, csr_der: bytes, probe_id: str, *, now: datetime) -> x509.Certificate:
        """A certificate for the key of a CSR; every name in it comes from here.

        Raises AuthorityError when the CSR is no good.
        """
        return self._issue(
            key_of(csr_der),
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
    ) -> tuple[str, bool]:
        """The probe that proves the key of its old certificate, not longer ago than RECOVERY_LIFE, and
        whether that certificate is of the old CA.

        Raises AuthorityError when it proves nothing.
        """
        try:
            old = x509.load_der_x509_certificate(certificate_der)
            is_old = self.is_old(old)
            if not is_old:
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
        return spiffe_id(old), is_old

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
        authority_key = x509.AuthorityKeyIdentifier.from_issuer_public_key(
            self._current.key.public_key()
        )
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
            .sign(self._current.key, hashes.SHA256())
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
        key, previous = _read_key(key_file), _read_previous(directory / PREVIOUS)
        if previous is not None and previous.key.public_key() == key.public_key():
            previous = None  # a change that got no further than this copy
            (directory / PREVIOUS).unlink()
        if not certificate_file.exists() or (
            previous is not None and certificate_file.read_bytes() == previous.pem
        ):
            made = _certified(key, by=None, now=now)
            write_private(certificate_file, made.public_bytes(ser.Encoding.PEM))
        certificate = x509.load_pem_x509_certificate(certificate_file.read_bytes())
    except (OSError, ValueError) as error:
        raise AuthorityError(
            f"{directory}: the CA cannot be read ({error}); bring its files back from a backup, or "
            f"move the directory away and enrol every probe anew"
        ) from error
    if key.public_key() != certificate.public_key():
        raise AuthorityError(f"{key_file} is not the key of {certificate_file}")
    return Authority(directory, CA(key, certificate), previous)


def _read_key(file: Path) -> ec.EllipticCurvePrivateKey:
    key = ser.load_pem_private_key(file.read_bytes(), password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise AuthorityError(f"{file} is not the key of a soundings CA")
    return key


def _read_previous(file: Path) -> CA | None:
    if not file.exists():
        return None
    return CA(_read_key(file), x509.load_pem_x509_certificate(file.read_bytes()))


def _vouched(current: CA, previous: CA | None) -> bytes:
    """The current CA's certificate by the one before it. It is made anew at every start: only its key counts."""
    if previous is None:
        return b""
    now = current.certificate.not_valid_before_utc + BACKDATED
    return _certified(current.key, by=previous, now=now).public_bytes(ser.Encoding.PEM)


def _certified(
    key: ec.EllipticCurvePrivateKey, *, by: CA | None, now: datetime
) -> x509.Certificate:
    """A CA's certificate, by the CA before it or by itself. No path length: the next one is below it."""
    name = _ca_name(key)
    signer, issuer = (key, name) if by is None else (by.key, by.certificate.subject)
    signer_key = signer.public_key()
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATED)
        .not_valid_after(now + CA_LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(_CA_USAGE, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signer_key), critical=False
        )
        .sign(signer, hashes.SHA256())
    )


def _ca_name(key: ec.EllipticCurvePrivateKey) -> x509.Name:
    """The same for a key whenever its certificate is made anew, and another for every key."""
    found = x509.SubjectKeyIdentifier.from_public_key(key.public_key()).digest.hex()
    return _common_name(f"soundings coordinator CA {found[:8]}")


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
    sync_directory(path.parent)


def key_sha256(certificate: x509.Certificate) -> bytes:
    """SHA-256 of a certificate's SubjectPublicKeyInfo: what a token pins, in its first 20 bytes."""
    spki = certificate.public_key().public_bytes(
        ser.Encoding.DER, ser.PublicFormat.SubjectPublicKeyInfo
    )
    return hashlib.sha256(spki).digest()


def as_datetime(stamp_us: int) -> datetime:
    """A wall-clock stamp as a certificate needs it."""
    return datetime.fromtimestamp(stamp_us / 1_000_000, tz=UTC)


def ca_us(authority: Authority) -> int:
    """From when on whatever is made is of the newest CA: certificates count whole seconds."""
    return (round(authority.began_at.timestamp()) + 1) * 1_000_000


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


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _common_name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(ser.Encoding.PEM, ser.PrivateFormat.PKCS8, ser.NoEncryption())
