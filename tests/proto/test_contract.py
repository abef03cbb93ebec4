"""The contract that other people's programs compile: readable by any tool, and never broken unseen."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from enum import StrEnum
from pathlib import Path

import pytest
from google.protobuf.descriptor import EnumDescriptor

from proto.columns import COLUMNS, Encoding
from proto.gen import plan_pb2, report_pb2
from proto.model import Control, Kind

ROOT = Path(__file__).resolve().parents[2]
BUF = Path(sys.executable).parent / "buf"
RELEASED = ROOT / "proto" / "released.binpb"
FOUND_SOMETHING = 100  # buf's exit code: it ran, and there are findings

BREAKAGES = {
    "a field is gone": ("fleet.proto", "  uint32 rows = 3;\n", ""),
    "a field has another number": ("fleet.proto", "uint32 rows = 3;", "uint32 rows = 7;"),
    "a field has another type": ("plan.proto", "uint32 port = 5;", "string port = 5;"),
    "a field has another name": ("report.proto", "uint32 sent = 26;", "uint32 packets = 26;"),
    "a field may no longer be unknown": ("plan.proto", "optional string sni", "string sni"),
    "an enum's value is gone": ("plan.proto", "  KIND_TRACE = 6;\n", ""),
    "a call is gone": ("admin.proto", "  rpc Trace(TraceRequest) returns (TraceResponse);\n", ""),
    "a service has another name": ("fleet.proto", "service FleetService", "service FlockService"),
    "a package has another name": ("report.proto", "package soundings.v1;", "package soundings;"),
}
ADDITIONS = {
    "a field": ("fleet.proto", "  uint32 rows = 3;\n", "  uint32 rows = 3;\n  bool more = 7;\n"),
    "an enum's value": ("plan.proto", "KIND_TRACE = 6;", "KIND_TRACE = 6;\n  KIND_QUIC = 7;"),
    "a message": ("plan.proto", "message Plan {", "message Hint {}\nmessage Plan {"),
}


WORDS: list[tuple[EnumDescriptor, tuple[StrEnum, ...], int]] = [
    (plan_pb2.DESCRIPTOR.enum_types_by_name["Kind"], tuple(Kind), 1),
    (plan_pb2.DESCRIPTOR.enum_types_by_name["Control"], tuple(Control), 1),
    *(
        (
            report_pb2.DESCRIPTOR.enum_types_by_name[type(column.words[0]).__name__],
            column.words,
            int(column.encoding is Encoding.PLUS_ONE),
        )
        for column in COLUMNS
        if column.words
    ),
]
"""Each enumeration of the contract, the words that it stands for, and the number of the first."""


def buf(*arguments: str | Path, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Run buf on the contract below a directory."""
    return subprocess.run([BUF, *arguments], cwd=cwd, capture_output=True, text=True, check=False)


def changed(home: Path, change: tuple[str, str, str]) -> Path:
    """A copy of the contract with one change in it."""
    name, before, after = change
    shutil.copytree(ROOT / "proto" / "soundings", home / "proto" / "soundings")
    shutil.copy(ROOT / "buf.yaml", home)
    source = home / "proto" / "soundings" / "v1" / name
    text = source.read_text(encoding="utf-8")
    assert text.count(before) == 1, before
    source.write_text(text.replace(before, after), encoding="utf-8")
    return home


def test_the_contract_keeps_the_rules_and_its_word() -> None:
    """The contract passes buf's lint and breaks nothing that was released."""
    for ran in (buf("lint"), buf("breaking", "--against", RELEASED)):
        assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")


@pytest.mark.parametrize(
    ("enum", "words", "first"), WORDS, ids=lambda one: getattr(one, "name", "")
)
def test_the_contract_numbers_every_word(
    enum: EnumDescriptor, words: tuple[StrEnum, ...], first: int
) -> None:
    """The contract names each word of the vocabulary with the number that it has on the wire."""
    prefix = re.sub(r"(?<!^)(?=[A-Z])", "_", enum.name).upper()
    expected = {f"{prefix}_UNSPECIFIED": 0} if first else {}
    expected |= {f"{prefix}_{word.name}": number for number, word in enumerate(words, first)}
    assert {value.name: value.number for value in enum.values} == expected


@pytest.mark.parametrize("name", BREAKAGES)
def test_what_breaks_the_contract_is_refused(name: str, tmp_path: Path) -> None:
    """A change that breaks who speaks the released contract is named with its file."""
    change = BREAKAGES[name]
    ran = buf("breaking", "--against", RELEASED, cwd=changed(tmp_path, change))
    assert ran.returncode == FOUND_SOMETHING, ran.stderr
    assert change[0] in ran.stdout


@pytest.mark.parametrize("name", ADDITIONS)
def test_the_contract_may_grow(name: str, tmp_path: Path) -> None:
    """A field, a value and a message may join without breaking anybody."""
    ran = buf("breaking", "--against", RELEASED, cwd=changed(tmp_path, ADDITIONS[name]))
    assert (ran.returncode, ran.stdout) == (0, "")
