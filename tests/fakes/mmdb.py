"""A small MMDB file, written by the format's description: enough to be read by anybody's reader."""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_POINTER_BITS = 32


def write_mmdb(path: Path, networks: Mapping[str, Any], *, ip_version: int = 6) -> None:
    """Networks and their records; IPv4 networks lie under ::/96, as in every such file."""
    nodes: list[list[Any]] = [[None, None]]
    for text, record in networks.items():
        _insert(nodes, _bits(text, ip_version), record)
    data, places = b"", {}
    for record in networks.values():
        places[id(record)] = len(nodes) + 16 + len(data)
        data += _encode(record)
    tree = b"".join(_side(side, places, len(nodes)) for node in nodes for side in node)
    metadata = {
        "node_count": len(nodes), "record_size": _POINTER_BITS, "ip_version": ip_version,
        "database_type": "test", "languages": [], "binary_format_major_version": 2,
        "binary_format_minor_version": 0, "build_epoch": 0, "description": {},
    }  # fmt: skip
    path.write_bytes(tree + bytes(16) + data + b"\xab\xcd\xefMaxMind.com" + _encode(metadata))


def _bits(text: str, ip_version: int) -> list[int]:
    network = ipaddress.ip_network(text)
    bits = [int(b) for b in f"{int(network.network_address):0{network.max_prefixlen}b}"]
    under = [0] * 96 if network.version == 4 and ip_version == 6 else []
    return under + bits[: network.prefixlen]


def _insert(nodes: list[list[Any]], bits: list[int], record: Any) -> None:
    at = 0
    for bit in bits[:-1]:
        if not isinstance(nodes[at][bit], int):
            nodes.append([nodes[at][bit]] * 2)
            nodes[at][bit] = len(nodes) - 1
        at = nodes[at][bit]
    nodes[at][bits[-1]] = (record,)


def _side(side: Any, places: Mapping[int, int], count: int) -> bytes:
    if isinstance(side, tuple):
        return struct.pack(">I", places[id(side[0])])
    return struct.pack(">I", count if side is None else side)


def _encode(value: Any) -> bytes:
    if isinstance(value, dict):
        inside = b"".join(_encode(k) + _encode(v) for k, v in value.items())
        return bytes([7 << 5 | len(value)]) + inside
    if isinstance(value, list):
        return bytes([len(value), 11 - 7]) + b"".join(map(_encode, value))
    if isinstance(value, int):
        raw = value.to_bytes(8)
        return bytes([8, 9 - 7]) + raw
    raw = value.encode()
    assert len(raw) < 285, "this writer knows short texts"
    head = bytes([2 << 5 | len(raw)]) if len(raw) < 29 else bytes([2 << 5 | 29, len(raw) - 29])
    return head + raw
