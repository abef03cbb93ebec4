"""What a running probe has to check of certificates: who signed a plan, and how long its own lasts.

The library that makes keys and requests (probe.io.trust) costs nine megabytes for as long as the
process lives, and is needed for minutes of a probe's year. These two questions OpenSSL answers, which
the ssl module has loaded already. Where its functions cannot be called the library answers after all:
in a Python with OpenSSL built in (as uv installs it), and with OpenSSL 1.1, whose names are others.

Source: EVP_DigestVerifyInit(3), d2i_X509(3), ASN1_TIME_to_tm(3).
"""

from __future__ import annotations

import _ssl
import ctypes
import re
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Final

SERVER_NAME: Final = "soundings-coordinator"
"""What every coordinator's certificate is also named, whatever its address."""

_PEM: Final = re.compile(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)
_EC: Final = 408  # EVP_PKEY_EC: a curve of NIST's
_POINTERS: Final = (
    *("d2i_X509", "X509_get0_pubkey", "X509_get0_notBefore", "X509_get0_notAfter"),
    *("EVP_MD_CTX_new", "EVP_sha256"),
)
_NUMBERS: Final = (
    *("EVP_PKEY_get_base_id", "EVP_DigestVerifyInit", "EVP_DigestVerify", "ASN1_TIME_to_tm"),
    *("X509_free", "EVP_MD_CTX_free"),
)


@dataclass(frozen=True, slots=True)
class Lifetime:
    """When a certificate is valid."""

    begins_at: datetime
    ends_at: datetime

    def begun(self, now: datetime) -> bool:
        """False before its time: by far most often this machine's clock is wrong."""
        return now >= self.begins_at

    def ended(self, now: datetime) -> bool:
        """Whether the coordinator would refuse it without saying why."""
        return now >= self.ends_at

    def renewal_due(self, now: datetime) -> bool:
        """From half life on: the other half is for coordinators that are away."""
        return now >= self.begins_at + (self.ends_at - self.begins_at) / 2


@cache
def openssl(path: str | None = getattr(_ssl, "__file__", None)) -> ctypes.CDLL | None:
    """The OpenSSL that the ssl module uses; None where its functions cannot be called.

    Args:
        path: of the shared object through which it is reached; None where there is none.
    """
    if path is None:
        return None
    try:
        lib = ctypes.CDLL(path)
        for name in _POINTERS:
            getattr(lib, name).restype = ctypes.c_void_p
        for name in _NUMBERS:
            getattr(lib, name).restype = ctypes.c_int
    except (AttributeError, OSError):
        return None
    return lib


_OPENSSL: Final = openssl()


def is_signed(
    data: bytes, signature: bytes, *, ca_pem: bytes, lib: ctypes.CDLL | None = _OPENSSL
) -> bool:
    """Whether any certificate of `ca.pem` signed exactly these bytes."""
    if lib is None:
        from probe.io import trust  # noqa: PLC0415  # nine megabytes, see above

        return trust.is_signed(data, signature, ca_pem=ca_pem)
    return any(_signed_by(lib, der, data, signature) for der in _ders(ca_pem))


def lifetime(certificate_pem: bytes, *, lib: ctypes.CDLL | None = _OPENSSL) -> Lifetime:
    """When the first certificate of a PEM file is valid, in UTC.

    Raises:
        ValueError: the file holds none.
    """
    if lib is None:
        from probe.io import trust  # noqa: PLC0415  # nine megabytes, see above

        return trust.lifetime(certificate_pem)
    der = next(_ders(certificate_pem), None)
    if der is None:
        raise ValueError("no certificate in the file")
    with _certificate(lib, der) as certificate:
        if certificate is None:
            raise ValueError("the certificate cannot be read")
        begins, ends = lib.X509_get0_notBefore(certificate), lib.X509_get0_notAfter(certificate)
        return Lifetime(_date(lib, begins), _date(lib, ends))


def _ders(pem: bytes) -> Iterator[bytes]:
    for found in _PEM.finditer(pem):
        try:
            yield ssl.PEM_cert_to_DER_cert(found[0].decode("ascii"))
        except ValueError:
            continue


@contextmanager
def _certificate(lib: ctypes.CDLL, der: bytes) -> Iterator[ctypes.c_void_p | None]:
    start = ctypes.c_char_p(der)
    made = lib.d2i_X509(None, ctypes.byref(start), ctypes.c_long(len(der)))
    try:
        yield ctypes.c_void_p(made) if made else None
    finally:
        lib.X509_free(ctypes.c_void_p(made))


def _signed_by(lib: ctypes.CDLL, der: bytes, data: bytes, signature: bytes) -> bool:
    with _certificate(lib, der) as certificate:
        key = ctypes.c_void_p(lib.X509_get0_pubkey(certificate) if certificate else None)
        if not key or lib.EVP_PKEY_get_base_id(key) != _EC:
            return False
        context = ctypes.c_void_p(lib.EVP_MD_CTX_new())
        try:
            sha256 = ctypes.c_void_p(lib.EVP_sha256())
            begun = lib.EVP_DigestVerifyInit(context, None, sha256, None, key)
            lengths = ctypes.c_size_t(len(signature)), ctypes.c_size_t(len(data))
            # 1 alone means good: 0 is a wrong signature, below it something that is none.
            checked = begun == 1 and lib.EVP_DigestVerify(
                context, signature, lengths[0], data, lengths[1]
            )
            return int(checked) == 1
        finally:
            lib.EVP_MD_CTX_free(context)


def _date(lib: ctypes.CDLL, stamp: int) -> datetime:
    fields = (ctypes.c_int * 32)()  # struct tm: nine numbers, then room for what libc adds
    if lib.ASN1_TIME_to_tm(ctypes.c_void_p(stamp), fields) != 1:
        raise ValueError("the certificate has no readable date")
    second, minute, hour, day, month, year = fields[:6]
    return datetime(year + 1900, month + 1, day, hour, minute, second, tzinfo=UTC)
