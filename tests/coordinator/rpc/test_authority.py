"""The CA on disk: made once, private, whole, and loud when it is not."""

from __future__ import annotations

import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from coordinator.rpc.authority import SERVER_NAME, open_authority
from coordinator.rpc.requests import AuthorityError
from tests.fakes.fleet_client import csr_of, key_pem, new_key

NOW = datetime(2026, 11, 23, tzinfo=UTC)


def test_the_authority_is_made_once_and_is_private(tmp_path: Path) -> None:
    """A second opening finds the same key; only its owner may read the files."""
    first = open_authority(tmp_path / "ca", now=NOW)
    second = open_authority(tmp_path / "ca", now=NOW + timedelta(days=1))
    assert first.key_sha256 == second.key_sha256
    assert first.certificate == second.certificate
    modes = {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "ca").iterdir()}
    assert modes == {0o600}
    assert stat.S_IMODE((tmp_path / "ca").stat().st_mode) == 0o700


def test_the_key_alone_is_enough(tmp_path: Path) -> None:
    """A lost certificate is made anew, and what the old one signed stays good."""
    old = open_authority(tmp_path, now=NOW)
    leaf = old.issue_probe(csr_of(new_key()), "p1", now=NOW)
    (tmp_path / "certificate.pem").unlink()
    leaf.verify_directly_issued_by(open_authority(tmp_path, now=NOW).certificate)


def test_a_certificate_without_its_key_is_no_authority(tmp_path: Path) -> None:
    """A new key would lock every probe out, so nothing is made and the way back is named."""
    open_authority(tmp_path, now=NOW)
    (tmp_path / "key.pem").unlink()
    with pytest.raises(AuthorityError, match="bring its files back from a backup"):
        open_authority(tmp_path, now=NOW)


def test_a_key_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    """Half of another authority is noticed before anything is signed."""
    open_authority(tmp_path, now=NOW)
    (tmp_path / "key.pem").write_bytes(key_pem(new_key()))
    with pytest.raises(AuthorityError, match="is not the key of"):
        open_authority(tmp_path, now=NOW)


def test_a_server_certificate_carries_every_name_and_the_chain(tmp_path: Path) -> None:
    """The name that probes ask for, names and addresses, and the CA, which the pin is checked on."""
    authority = open_authority(tmp_path, now=NOW)
    _, chain = authority.issue_server(("203.0.113.10", "c.example", "203.0.113.10"), now=NOW)
    leaf, ca = x509.load_pem_x509_certificates(chain)
    assert ca == authority.certificate
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == [SERVER_NAME, "c.example"]
    assert [str(a) for a in names.get_values_for_type(x509.IPAddress)] == ["203.0.113.10"]
    assert authority.certificate_pem == ca.public_bytes(Encoding.PEM)


def test_a_request_that_was_tampered_with_is_refused(tmp_path: Path) -> None:
    """The CSR proves its key by its own signature."""
    authority = open_authority(tmp_path, now=NOW)
    csr = bytearray(csr_of(new_key()))
    csr[-1] ^= 1
    with pytest.raises(AuthorityError):
        authority.issue_probe(bytes(csr), "p1", now=NOW)
