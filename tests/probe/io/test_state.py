from __future__ import annotations

import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from probe.exits import Exit, ProbeError
from probe.io.state import Endpoint, StateDirectory

ENDPOINT = Endpoint(probe_id="p1", enrol="a.test:7444", fleet=("a.test:7443", "b.test:7443"))
NO_DOOR = b'{"probe_id": "p", "enrol": "a:1", "fleet": []}'


def filled(path: Path) -> StateDirectory:
    """A directory with every file of an enrolment."""
    state = StateDirectory(path)
    state.make()
    for name in ("key.pem", "certificate.pem", "ca.pem", "csr.der"):
        state.write(name, name.encode())
    state.save_endpoint(ENDPOINT)
    return state


def test_what_is_written_is_read_and_private(tmp_path: Path) -> None:
    """Files are whole, 0600, and nothing is left beside them."""
    state = filled(tmp_path / "state")
    identity = state.identity()
    assert identity.endpoint == ENDPOINT
    assert identity.key_pem == b"key.pem"
    paths = list((tmp_path / "state").iterdir())
    assert {stat.S_IMODE(path.stat().st_mode) for path in paths} == {0o600}
    assert len(paths) == 5


def test_a_rewrite_replaces_as_a_whole(tmp_path: Path) -> None:
    """A longer old content leaves no tail."""
    state = filled(tmp_path)
    state.write("ca.pem", b"short")
    assert state.read("ca.pem") == b"short"


def test_a_file_that_is_not_there_is_none(tmp_path: Path) -> None:
    """Absence is not an error."""
    assert StateDirectory(tmp_path).read("plan.bin") is None


@pytest.mark.parametrize("name", ["key.pem", "certificate.pem", "ca.pem", "endpoint.json"])
def test_a_missing_file_means_not_enrolled(tmp_path: Path, name: str) -> None:
    """The message names it and the command to type."""
    state = filled(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(ProbeError, match="soundings probe enrol") as caught:
        state.identity()
    assert caught.value.code is Exit.BAD_CONFIG
    assert name in str(caught.value)


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"probe_id": "p"}', b"\xff", NO_DOOR])
def test_a_damaged_endpoint_is_named(tmp_path: Path, content: bytes) -> None:
    """Somebody edited it."""
    state = filled(tmp_path)
    state.write("endpoint.json", content)
    with pytest.raises(ProbeError, match=r"endpoint\.json") as caught:
        state.identity()
    assert caught.value.code is Exit.STATE_UNUSABLE


def test_a_directory_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    """A file in its place: making, reading and writing all say so."""
    (tmp_path / "state").write_text("")
    state = StateDirectory(tmp_path / "state")
    acts: tuple[Callable[[], object], ...] = (
        state.make,
        lambda: state.read("x"),
        lambda: state.write("x", b""),
    )
    for act in acts:
        with pytest.raises(ProbeError, match="state") as caught:
            act()
        assert caught.value.code is Exit.STATE_UNUSABLE
