"""Certificates that servers showed to probes, read as far as they can be."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from coordinator.rpc.authority import Authority, open_authority
from coordinator.store.certificates import read_certificate
from coordinator.store.rows import CertificateRow
from tests.fakes.certificates import with_version

NOW = datetime(2026, 11, 23, tzinfo=UTC)
DAY_US = 86_400_000_000


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """A CA to make certificates with."""
    return open_authority(tmp_path, now=NOW)


def read(der: bytes) -> CertificateRow:
    """A certificate as a row."""
    return read_certificate(der, sha256="s", probe_id="p1", seen_at_us=7)


def test_a_good_certificate_is_read(authority: Authority) -> None:
    """Subject, issuer, names and dates stand beside the bytes."""
    _, chain = authority.issue_server(("x.test", "192.0.2.1"), now=NOW)
    leaf = x509.load_pem_x509_certificates(chain)[0].public_bytes(Encoding.DER)
    row = read(leaf)
    now_us = round(NOW.timestamp()) * 1_000_000
    ca = authority.certificate.subject.rfc4514_string()
    assert ca.startswith("CN=soundings coordinator CA ")
    assert (row.subject, row.issuer) == ("CN=soundings-coordinator", ca)
    assert row.names == "soundings-coordinator x.test 192.0.2.1"
    assert (row.not_before_us, row.not_after_us) == (now_us - 2 * DAY_US, now_us + 90 * DAY_US)
    assert (row.der, row.seen_at_us) == (leaf, 7)


def test_a_certificate_without_names_is_read(authority: Authority) -> None:
    """What it does not say is not known."""
    row = read(authority.certificate.public_bytes(Encoding.DER))
    assert (row.subject, row.names) == (authority.certificate.subject.rfc4514_string(), None)


@pytest.mark.parametrize("cut", [0, 1, 50, 200, 300])
def test_a_torn_certificate_is_kept_unread(authority: Authority, cut: int) -> None:
    """Whatever the bytes are, reading them ends in a row."""
    der = authority.certificate.public_bytes(Encoding.DER)[:cut]
    row = read(der)
    assert (row.subject, row.not_after_us, row.der) == (None, None, der)


def test_a_certificate_of_no_known_version_is_kept_unread(authority: Authority) -> None:
    """An error that is the parser's own kind ends in a row like any other."""
    der = with_version(authority.certificate.public_bytes(Encoding.DER), 7)
    row = read(der)
    assert (row.subject, row.not_after_us, row.der) == (None, None, der)
