"""Read a certificate that some server showed to some probe: hostile bytes, twice removed."""

from __future__ import annotations

from datetime import datetime
from typing import Final

import structlog
from cryptography import x509

from coordinator.store.rows import CertificateRow

NAMES_MAX: Final = 100
"""Names kept of one certificate: shared hosts have hundreds, and the DER holds them all."""

_LOG: Final = structlog.get_logger("store")


def read_certificate(der: bytes, *, sha256: str, probe_id: str, seen_at_us: int) -> CertificateRow:
    """What a leaf certificate says; every field that does not parse is None."""
    subject = issuer = names = None
    not_before_us = not_after_us = None
    try:
        certificate = x509.load_der_x509_certificate(der)
        subject = certificate.subject.rfc4514_string()
        issuer = certificate.issuer.rfc4514_string()
        not_before_us = _stamp_us(certificate.not_valid_before_utc)
        not_after_us = _stamp_us(certificate.not_valid_after_utc)
        names = _names(certificate)
    except Exception as error:  # noqa: BLE001  # hostile bytes: the parser's errors are an open set
        # The bytes are kept as received: whoever doubts can look.
        _LOG.info("certificate_unread", cert_sha256=sha256, error=repr(error)[:200])
    return CertificateRow(
        cert_sha256=sha256,
        seen_at_us=seen_at_us,
        probe_id=probe_id,
        subject=subject,
        issuer=issuer,
        names=names,
        not_before_us=not_before_us,
        not_after_us=not_after_us,
        der=der,
    )


def _names(certificate: x509.Certificate) -> str | None:
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return None
    dns = extension.value.get_values_for_type(x509.DNSName)
    addresses = (str(a) for a in extension.value.get_values_for_type(x509.IPAddress))
    return " ".join([*dns, *addresses][:NAMES_MAX])


def _stamp_us(at: datetime) -> int:
    return round(at.timestamp() * 1_000_000)
