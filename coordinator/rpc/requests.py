"""What strangers send to have a certificate made of: read, and refused with the reason."""

from __future__ import annotations

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec

from coordinator.core.registry import SPIFFE_PREFIX
from proto.model import SoundingsError


class AuthorityError(SoundingsError):
    """A certificate request or an old certificate that is not good enough, and why."""


def key_of(csr_der: bytes) -> ec.EllipticCurvePublicKey:
    """The key of a CSR, which is all that is taken of it. Raises AuthorityError when it is no good."""
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


def spiffe_id(certificate: x509.Certificate) -> str:
    """The one probe that a certificate names. Raises AuthorityError when it names none."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (ValueError, x509.ExtensionNotFound) as error:
        raise AuthorityError("the old certificate names no probe") from error
    uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    if len(uris) != 1 or not uris[0].startswith(SPIFFE_PREFIX):
        raise AuthorityError("the old certificate names no probe")
    return uris[0].removeprefix(SPIFFE_PREFIX)
