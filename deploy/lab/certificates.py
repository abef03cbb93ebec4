"""The lab's web authority and its leaf certificates, good ones and each bad kind.

A bad certificate is made the way it goes bad in the world: an expired one is signed by the trusted
authority with a period that has passed, a wrong-name one is perfectly valid for somebody else, an
untrusted one has a complete chain to an authority nobody installed. Each differs from a good one in
exactly the one property that its name says, so that a client's complaint can be compared with it.

Keys are P-256: a handshake costs a fraction of a millisecond, and the lab makes hundreds a second.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

#: Certificates of the lab outlive any run but not a forgotten directory.
VALID_FOR: Final = timedelta(days=7)
#: Backdated, so that a vantage whose clock is some minutes behind still accepts a good one.
BACKDATED: Final = timedelta(hours=12)
#: The name on the certificate that belongs to somebody else.
FOREIGN_NAME: Final = "somebody-else.test"


class Flavour(StrEnum):
    """What is wrong with a leaf, if anything."""

    GOOD = "good"
    EXPIRED = "expired"
    NOT_YET_VALID = "not-yet-valid"
    WRONG_NAME = "wrong-name"
    SELF_SIGNED = "self-signed"
    UNTRUSTED = "untrusted"


@dataclass(frozen=True, slots=True)
class Authority:
    """A signing certificate and its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)


@dataclass(frozen=True, slots=True)
class Leaf:
    """A server's chain (leaf first) and key, both PEM."""

    chain: bytes
    key: bytes


def create_authority(common_name: str, *, now: datetime) -> Authority:
    """Make a self-signed signing certificate, valid from half a day before `now`."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name(common_name)
    builder = _builder(name, name, key, not_before=now - BACKDATED, not_after=now + VALID_FOR)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(_ca_usage(), critical=True)
    builder = builder.add_extension(
        x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False
    )
    return Authority(builder.sign(key, hashes.SHA256()), key)


def issue(authority: Authority, name: str, *, flavour: Flavour, now: datetime) -> Leaf:
    """Make the leaf of `name` in one flavour; only `GOOD` passes a client that trusts us."""
    key = ec.generate_private_key(ec.SECP256R1())
    issuer = _issuer(authority, name, key, flavour=flavour, now=now)
    shown = FOREIGN_NAME if flavour is Flavour.WRONG_NAME else name
    shift = _SHIFTS.get(flavour, timedelta(0))
    builder = _builder(
        _name(shown),
        issuer.certificate.subject if issuer.key is not key else _name(shown),
        key,
        not_before=now - BACKDATED + shift,
        not_after=now + VALID_FOR + shift,
    )
    certificate = _with_leaf_extensions(builder, shown, issuer).sign(issuer.key, hashes.SHA256())
    chain = certificate.public_bytes(serialization.Encoding.PEM)
    return Leaf(chain + (b"" if issuer.key is key else issuer.pem), _key_pem(key))


def write_leaf(leaf: Leaf, directory: Path, stem: str) -> tuple[Path, Path]:
    """Write `STEM.crt` and `STEM.key`; returns both paths."""
    chain, key = directory / f"{stem}.crt", directory / f"{stem}.key"
    chain.write_bytes(leaf.chain)
    key.touch(mode=0o600)
    key.write_bytes(leaf.key)
    return chain, key


@dataclass(frozen=True, slots=True)
class CertificateShop:
    """Issues leaves into one directory, each (name, flavour) once per run."""

    authority: Authority
    directory: Path
    now: datetime

    @property
    def ca_file(self) -> Path:
        """What the probes are told to trust."""
        return self.directory / "web-ca.pem"

    def leaf(self, name: str, flavour: Flavour = Flavour.GOOD) -> tuple[Path, Path]:
        """Return the chain and key files, made at the first asking."""
        stem = f"{name}.{flavour.value}"
        chain, key = self.directory / f"{stem}.crt", self.directory / f"{stem}.key"
        if chain.exists() and key.exists():
            return chain, key
        leaf = issue(self.authority, name, flavour=flavour, now=self.now)
        return write_leaf(leaf, self.directory, stem)


def open_shop(directory: Path, *, now_us: int) -> CertificateShop:
    """Make a new authority in `directory` and the shop that issues from it."""
    directory.mkdir(parents=True, exist_ok=True)
    now = datetime.fromtimestamp(now_us / 1e6, tz=UTC)
    shop = CertificateShop(create_authority("Lab Web CA", now=now), directory, now)
    shop.ca_file.write_bytes(shop.authority.pem)
    return shop


# How far the validity lies from where it should: all of it in the past, or all of it to come.
_SHIFTS: Final = {
    Flavour.EXPIRED: -(VALID_FOR + 2 * BACKDATED),
    Flavour.NOT_YET_VALID: 2 * BACKDATED,
}


def _issuer(
    authority: Authority,
    name: str,
    key: ec.EllipticCurvePrivateKey,
    *,
    flavour: Flavour,
    now: datetime,
) -> Authority:
    if flavour is Flavour.UNTRUSTED:
        return create_authority("Nobody Trusts This CA", now=now)
    if flavour is Flavour.SELF_SIGNED:
        # Only the key matters here: the leaf signs itself.
        return Authority(create_authority(name, now=now).certificate, key)
    return authority


def _with_leaf_extensions(
    builder: x509.CertificateBuilder, name: str, issuer: Authority
) -> x509.CertificateBuilder:
    for extension, critical in (
        (x509.BasicConstraints(ca=False, path_length=None), True),
        (x509.SubjectAlternativeName([x509.DNSName(name)]), False),
        (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False),
        (x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.key.public_key()), False),
    ):
        builder = builder.add_extension(extension, critical=critical)
    return builder


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    *,
    not_before: datetime,
    not_after: datetime,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(not_before)
        .not_valid_after(not_after)
    )


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _ca_usage() -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
