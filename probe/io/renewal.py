"""What a probe takes of a renewal: a certificate that is its own, and no authority out of nowhere.

The token pinned one CA, and all later trust has to come from it. A reply may bring another bundle,
for a change of CA, but each certificate in it must be one that is trusted already or be signed by
one; and the new certificate must be signed by that bundle, for our key and under our name. All of
it is checked before the first byte is written, so a bad reply changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from probe.exits import Exit, ProbeError
from probe.io.state import Identity, StateDirectory

_MALFORMED = (
    ValueError,
    TypeError,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
    x509.ExtensionNotFound,
)


def take(
    state: StateDirectory, identity: Identity, *, certificate_pem: bytes, ca_pem: bytes
) -> None:
    """Store a renewed certificate, and its CA bundle if there is one (empty = the same as before).

    Raises ProbeError when either is not what it must be; then nothing was written.
    """
    bundle_pem = trusted_bundle(identity.ca_pem, ca_pem)
    _require_own(identity, certificate_pem, bundle_pem=bundle_pem)
    if bundle_pem == identity.ca_pem:
        state.write("certificate.pem", certificate_pem)
        return
    # In between both authorities are trusted, so that wherever a crash falls, the certificate on
    # disk goes with the bundle beside it.
    state.write("ca.pem", identity.ca_pem.rstrip() + b"\n" + bundle_pem)
    state.write("certificate.pem", certificate_pem)
    state.write("ca.pem", bundle_pem)


def trusted_bundle(trusted_pem: bytes, offered_pem: bytes) -> bytes:
    """The bundle to trust from now on. Raises ProbeError when the offered one has no claim to it."""
    if not offered_pem or offered_pem == trusted_pem:
        return trusted_pem
    trusted = _read(trusted_pem, "ca.pem")
    for offered in _read(offered_pem, "the CA bundle that the coordinator sent"):
        if offered in trusted:
            continue
        if not (_is_authority(offered) and _is_signed_by(offered, trusted)):
            raise _refused(
                "the coordinator sent a CA that none of ca.pem signed "
                f"({offered.subject.rfc4514_string()}, serial {offered.serial_number:x})"
            )
    return offered_pem


def _require_own(identity: Identity, certificate_pem: bytes, *, bundle_pem: bytes) -> None:
    read = _read(certificate_pem, "the certificate that the coordinator sent")
    if len(read) != 1:
        raise _refused(f"the coordinator sent {len(read)} certificates in place of one")
    leaf = read[0]
    if not _is_signed_by(leaf, _read(bundle_pem, "ca.pem")):
        raise _refused("the new certificate is not signed by the coordinator's CA")
    if leaf.public_key() != load_pem_private_key(identity.key_pem, None).public_key():
        raise _refused("the new certificate is for another key")
    ours = _uris(_read(identity.certificate_pem, "certificate.pem")[0])
    if _uris(leaf) != ours:
        raise _refused(f"the new certificate names {_uris(leaf)}, and this probe is {ours}")


def _read(pem: bytes, what: str) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(pem)
    except ValueError as error:
        raise _refused(f"{what} cannot be read ({error})") from error


def _is_signed_by(certificate: x509.Certificate, authorities: Iterable[x509.Certificate]) -> bool:
    for authority in authorities:
        try:
            certificate.verify_directly_issued_by(authority)
        except (ValueError, TypeError, InvalidSignature):
            continue
        return True
    return False


def _is_authority(certificate: x509.Certificate) -> bool:
    """Whether it may sign others: a probe's own certificate is signed too, and is no authority."""
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except _MALFORMED:
        return False


def _uris(certificate: x509.Certificate) -> tuple[str, ...]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except _MALFORMED:
        return ()
    return tuple(names.get_values_for_type(x509.UniformResourceIdentifier))


def _refused(why: str) -> ProbeError:
    return ProbeError(
        f"certificates: {why}; nothing was changed; if the coordinator is yours and was given a new CA, "
        "enrol this probe again",
        code=Exit.WRONG_PIN,
    )
