"""A certificate authority for tests: good leaves, and each bad kind as it goes bad in the world."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

_DAY: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Leaf:
    """A certificate with its key as one PEM file, as servers load it."""

    path: Path
    der: bytes

    def context(self, *, version: ssl.TLSVersion | None = None) -> ssl.SSLContext:
        """A server's context that shows this leaf."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.path)
        if version is not None:
            context.maximum_version = version
        return context


class Authority:
    """Signs leaves into a directory. `ca_file` is what a client has to trust."""

    def __init__(self, directory: Path, *, now: datetime, name: str = "Test Authority") -> None:
        self._directory = directory
        self._now = now
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _common_name(name)
        self.ca_file = directory / f"{name.replace(' ', '-')}.pem"
        certificate = _sign(
            _Wanted(self._name, self._name, now - _DAY, now + 30 * _DAY, None),
            self._key,
            self._key,
        )
        self.ca_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def leaf(self, name: str, *, from_days: int = -1, to_days: int = 30) -> Leaf:
        """A leaf for `name`, valid between these days counted from now."""
        return self._issue(name, self._name, self._key, from_days=from_days, to_days=to_days)

    def self_signed(self, name: str) -> Leaf:
        """A leaf that vouches for itself."""
        return self._issue(name, _common_name(name), None, from_days=-1, to_days=30)

    def _issue(
        self,
        name: str,
        issuer: x509.Name,
        signer: ec.EllipticCurvePrivateKey | None,
        *,
        from_days: int,
        to_days: int,
    ) -> Leaf:
        key = ec.generate_private_key(ec.SECP256R1())
        wanted = _Wanted(
            _common_name(name),
            issuer,
            self._now + from_days * _DAY,
            self._now + to_days * _DAY,
            name,
        )
        certificate = _sign(wanted, key, signer or key)
        path = self._directory / f"{certificate.serial_number:x}.pem"
        path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM) + _pem_of(key))
        return Leaf(path, certificate.public_bytes(serialization.Encoding.DER))


def make_authority(directory: Path, name: str = "Test Authority") -> Authority:
    """An authority whose leaves are valid today: OpenSSL reads the real clock."""
    now = datetime.fromtimestamp(directory.stat().st_mtime, tz=UTC)
    return Authority(directory, now=now, name=name)


@dataclass(frozen=True, slots=True)
class _Wanted:
    subject: x509.Name
    issuer: x509.Name
    not_before: datetime
    not_after: datetime
    dns_name: str | None  # None: an authority


def _sign(
    wanted: _Wanted, key: ec.EllipticCurvePrivateKey, signer: ec.EllipticCurvePrivateKey
) -> x509.Certificate:
    builder = (
        x509.CertificateBuilder()
        .subject_name(wanted.subject)
        .issuer_name(wanted.issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(wanted.not_before)
        .not_valid_after(wanted.not_after)
        .add_extension(
            x509.BasicConstraints(ca=wanted.dns_name is None, path_length=None), critical=True
        )
    )
    if wanted.dns_name is not None:
        names = x509.SubjectAlternativeName([x509.DNSName(wanted.dns_name)])
        builder = builder.add_extension(names, critical=False)
    return builder.sign(signer, hashes.SHA256())


def _common_name(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _pem_of(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
