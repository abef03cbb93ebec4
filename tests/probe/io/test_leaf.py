"""Leaf certificates as a page shows them, read as far as they can be."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from probe.core.explain import Leaf
from probe.io.leaf import read_leaf
from proto.model import Certificate
from tests.fakes.certificates import with_version
from tests.fakes.tls_authority import make_authority


def test_a_good_leaf_is_read(tmp_path: Path) -> None:
    """Names, issuer and both dates."""
    der = make_authority(tmp_path).leaf("x.test", from_days=-9, to_days=-2).der
    leaf = read_leaf(Certificate("ab", der))
    assert (leaf.sha256, leaf.names, leaf.issuer) == ("ab", ("x.test",), "CN=Test Authority")
    assert leaf.valid_from is not None
    assert leaf.valid_until is not None
    assert (leaf.valid_until - leaf.valid_from).days == 7


def test_a_leaf_without_names_is_read(tmp_path: Path) -> None:
    """Old certificates have none; the rest is still said."""
    der = ssl.PEM_cert_to_DER_cert(make_authority(tmp_path).ca_file.read_text())
    leaf = read_leaf(Certificate("ab", der))
    assert (leaf.names, leaf.issuer) == ((), "CN=Test Authority")


@pytest.mark.parametrize("cut", [0, 1, 50, 200])
def test_a_torn_leaf_has_only_its_fingerprint(tmp_path: Path, cut: int) -> None:
    """Whatever a server shows, the page is printed."""
    der = make_authority(tmp_path).leaf("x.test").der[:cut]
    assert read_leaf(Certificate("ab", der)) == Leaf(sha256="ab")


def test_a_leaf_of_no_known_version_has_only_its_fingerprint(tmp_path: Path) -> None:
    """An error that is the parser's own kind is no different."""
    der = with_version(make_authority(tmp_path).leaf("x.test").der, 7)
    assert read_leaf(Certificate("ab", der)) == Leaf(sha256="ab")
