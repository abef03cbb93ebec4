"""Certificates that are wrong in one place."""

from __future__ import annotations


def with_version(der: bytes, version: int) -> bytes:
    """The certificate with another version number: well-formed, and no version that exists."""
    at = der.index(bytes.fromhex("a003020102")) + 4
    return der[:at] + bytes([version]) + der[at + 1 :]
