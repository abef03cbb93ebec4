"""Controls: which checks a component is given beside its own, and what runs when it fails."""

from __future__ import annotations

from typing import Any

import pytest

from coordinator.core.planner import check_ids, define_checks, number_checks
from coordinator.core.validation import validate
from proto.model import Check, Control, Kind

EVERYTHING = {
    "second_port": 80,
    "neutral_sni": "example.com",
    "public_resolvers": ["192.0.2.9", "2001:db8::9"],
    "authoritative": True,
    "kinds": ["icmp", "tcp", "http", "dns", "tls"],
    "server": "192.0.2.53",
}
NOTHING: dict[str, Any] = {"trace": False, "remembered": False, "confirm_after_s": []}


def checks(**changes: Any) -> dict[str, Check]:
    """The checks of one component, by what follows its name in their ids."""
    component = {"name": "web", "url": "https://x.test/", **changes}
    config = validate({"service": [{"name": "x", "component": [component]}]}, file="f")
    defined = define_checks(config, number_checks(check_ids(config), {}))
    return {d.check.check_id.removeprefix("x/web/"): d.check for d in defined}


def test_a_component_gets_the_controls_that_it_asks_for() -> None:
    """Each has an id of its own, so that its rows are never taken for the component's."""
    assert set(checks(**EVERYTHING)) == {
        "icmp/4", "tcp/4", "http/4", "dns/4", "tls/4",
        "dns/4/public_resolver/192.0.2.9", "dns/4/public_resolver/2001:db8::9",
        "dns/4/authoritative", "tcp/4/second_port", "tls/4/neutral_sni", "tls/4/remembered",
        "trace/4",
    }  # fmt: skip
    assert set(checks(**NOTHING)) == {"icmp/4", "tcp/4", "http/4", "dns/4"}


def test_a_control_changes_one_thing() -> None:
    """What it shares with the check of a user, it shares to the letter."""
    by_id = checks(**EVERYTHING)
    public = by_id["dns/4/public_resolver/192.0.2.9"]
    assert (public.server, public.control) == ("192.0.2.9", Control.PUBLIC_RESOLVER)
    assert by_id["dns/4"].server == "192.0.2.53"
    assert by_id["dns/4/authoritative"].server is None
    assert (by_id["tcp/4/second_port"].port, by_id["tcp/4"].port) == (80, 443)
    assert (by_id["tls/4/neutral_sni"].sni, by_id["tls/4"].sni) == ("example.com", None)
    assert by_id["tls/4/neutral_sni"].host == "x.test"


def test_what_has_no_slots_runs_when_a_check_of_its_family_fails() -> None:
    """A failed name calls for the addresses it had; a failed target also for the way to it."""
    by_id = checks(**EVERYTHING, families=[4, 6])
    names = {check.check_no: name for name, check in by_id.items()}
    follow = {name: {names[n] for n in check.on_failure} for name, check in by_id.items()}
    assert follow["dns/6"] == {"tls/6/remembered"}
    assert follow["http/4"] == {"tls/4/remembered", "trace/4"}
    assert follow["icmp/4"] == {"trace/4"}
    assert follow["tls/4/neutral_sni"] == follow["trace/4"] == set()
    for name in ("trace/4", "tls/6/remembered"):
        assert by_id[name].interval_s == 0


def test_only_what_a_user_does_is_tried_again() -> None:
    """A confirmation of a control would confirm nothing."""
    by_id = checks(**EVERYTHING, confirm_after_s=[1, 2])
    confirmed = {name for name, check in by_id.items() if check.confirm_after_s == (1.0, 2.0)}
    assert confirmed == {"icmp/4", "tcp/4", "http/4", "dns/4", "tls/4"}


@pytest.mark.parametrize(
    ("changes", "absent"),
    [
        ({"url": "http://192.0.2.1/"}, {"tcp/4/remembered", "tls/4/remembered"}),
        ({"pinned": "192.0.2.1"}, {"tls/4/remembered"}),
        ({"kinds": ["dns"]}, {"trace/4", "tls/4/remembered"}),
        ({"kinds": ["icmp"]}, {"tls/4/remembered"}),
        ({"kinds": ["icmp"], "public_resolvers": ["192.0.2.9"], "authoritative": True},
         {"dns/4/authoritative", "dns/4/public_resolver/192.0.2.9"}),
    ],
)  # fmt: skip
def test_what_cannot_be_asked_is_left_out(changes: dict[str, Any], absent: set[str]) -> None:
    """An address has no yesterday, a name no way to it, and what is not asked no second opinion."""
    assert not absent & set(checks(**changes))


def test_a_trace_goes_to_the_port_where_there_is_one() -> None:
    """Firewalls treat the real port as they treat users; without one an echo must do."""
    assert checks()["trace/4"].port == 443
    assert checks(kinds=["icmp"])["trace/4"].port is None
    assert checks(url="http://x.test/")["tcp/4/remembered"].kind is Kind.TCP
