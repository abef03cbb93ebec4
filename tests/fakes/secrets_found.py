"""Looking for secrets: in every form that a program might have written them, in whatever it wrote."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import duckdb
from cryptography.hazmat.primitives import serialization as ser


def forms_of(secret: bytes) -> set[bytes]:
    """As it is, in hexadecimal, and in base64 of both alphabets wherever in a longer text it begins."""
    found = {secret, secret.hex().encode(), secret.hex().upper().encode()}
    for skipped in range(3):
        rest = secret[skipped:]
        whole = len(rest) - len(rest) % 3
        found |= {base64.b64encode(rest[:whole]), base64.urlsafe_b64encode(rest[:whole])}
    return found


def key_secrets(pem: bytes) -> dict[str, bytes]:
    """What must not be seen of a private key: its number, and the body of its file."""
    key: Any = ser.load_pem_private_key(pem, None)
    number = key.private_numbers().private_value.to_bytes(32, "big")
    body = pem.split(b"-----")[2].strip().splitlines()[1]
    return {"number": number, "file": body}


def found_in(texts: Mapping[str, bytes], secrets: Mapping[str, bytes]) -> list[tuple[str, str]]:
    """Where which secret was found."""
    wanted = {name: forms_of(secret) for name, secret in secrets.items()}
    return [
        (where, name)
        for where, text in texts.items()
        for name, forms in wanted.items()
        if any(form in text for form in forms)
    ]


def files_of(directory: Path, *, but: Iterable[str] = ()) -> dict[str, bytes]:
    """Every file below a directory, by its path."""
    left_out = set(but)
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in sorted(directory.rglob("*"))
        if path.is_file() and str(path.relative_to(directory)).partition("/")[0] not in left_out
    }


def rows_of_store(file: Path) -> dict[str, bytes]:
    """Every value of every table of a closed store: its file is compressed."""
    con = duckdb.connect(str(file), read_only=True)
    try:
        tables = [
            name for (name,) in con.execute("SELECT table_name FROM duckdb_tables()").fetchall()
        ]
        found = {}
        for name in tables:
            text = bytearray()
            for row in con.table(name).fetchall():
                for value in row:
                    text += value if isinstance(value, bytes) else str(value).encode()
                    text += b"\n"
            found[f"table {name}"] = bytes(text)
        return found
    finally:
        con.close()
