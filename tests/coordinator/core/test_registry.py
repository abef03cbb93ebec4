"""Who may speak, and who has fallen silent."""

from __future__ import annotations

import tomllib

import pytest

from coordinator.core.registry import (
    Probe,
    ProbeState,
    Vantage,
    is_silent,
    probe_id_of,
    refuse_probe,
)
from coordinator.core.validation import validate


@pytest.mark.parametrize(
    ("names", "probe_id"),
    [
        (("spiffe://soundings/probe/p1",), "p1"),
        ((), None),
        (("spiffe://soundings/probe/",), None),
        (("spiffe://other/probe/p1",), None),
        (("spiffe://soundings/probe/p1", "spiffe://soundings/probe/p2"), None),
    ],
)
def test_a_certificate_names_exactly_one_probe(
    names: tuple[str, ...], probe_id: str | None
) -> None:
    """A certificate that names none, another domain's, or two probes names nobody."""
    assert probe_id_of(names) == probe_id


@pytest.mark.parametrize(
    ("state", "refused"),
    [
        (ProbeState.ENROLLED, False),
        (ProbeState.QUARANTINED, False),
        (ProbeState.REVOKED, True),
    ],
)
def test_only_revoked_probes_are_refused(state: ProbeState, refused: bool) -> None:
    """A quarantined probe goes on reporting: its rows are weighed, not lost."""
    probe = Probe(probe_id="p1", name="v", declared=Vantage(), state=state, enrolled_at_us=0)
    assert (refuse_probe(probe) is not None) == refused


def test_an_unknown_probe_is_told_to_enrol() -> None:
    """A certificate of a registry that is gone leads to the way back in."""
    assert "enrol it with a new token" in (refuse_probe(None) or "")


def test_three_missed_heartbeats_are_silence() -> None:
    """Up to three beats is patience, more is a ruin."""
    assert not is_silent(seen_at_us=0, now_us=45_000_000, heartbeat_s=15)
    assert is_silent(seen_at_us=0, now_us=45_000_001, heartbeat_s=15)


COMPONENT = """
[[service]]
name = "x"
[[service.component]]
name = "web"
url = "https://x.test/"
"""


def test_networks_are_believed_as_seen_unless_the_file_says_otherwise() -> None:
    """Each fact has its own source, and no table means that nobody is looked up."""
    found = validate(
        tomllib.loads('[networks]\nfiles = ["a.csv"]\nasn_from = "declared"\n' + COMPONENT),
        file="f.toml",
    ).networks
    assert (found.files, found.sources.asn, found.sources.country) == (
        ("a.csv",),
        "declared",
        "seen",
    )
    assert validate(tomllib.loads(COMPONENT), file="f.toml").networks.files == ()
