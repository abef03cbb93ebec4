"""Read the leaf certificate that a server showed, for the page: hostile bytes.

The coordinator reads it again for its rows; there the bytes come from a probe.
"""

from __future__ import annotations

from cryptography import x509

from probe.core.explain import Leaf
from proto.model import Certificate


def read_leaf(shown: Certificate) -> Leaf:
    """What the certificate says of itself; only its fingerprint where it cannot be read."""
    try:
        certificate = x509.load_der_x509_certificate(shown.der)
        return Leaf(
            sha256=shown.sha256,
            names=_names(certificate),
            issuer=certificate.issuer.rfc4514_string(),
            valid_from=certificate.not_valid_before_utc,
            valid_until=certificate.not_valid_after_utc,
        )
    except Exception:  # noqa: BLE001  # hostile bytes: the parser's errors are an open set
        return Leaf(sha256=shown.sha256)


def _names(certificate: x509.Certificate) -> tuple[str, ...]:
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return ()
    dns = extension.value.get_values_for_type(x509.DNSName)
    addresses = (str(a) for a in extension.value.get_values_for_type(x509.IPAddress))
    return (*dns, *addresses)
