"""Plans: what each probe is asked, under numbers that never change meaning."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from coordinator.core.planner import (
    check_ids,
    define_checks,
    number_checks,
    plan_for,
)
from coordinator.core.settings import Config
from coordinator.core.validation import validate
from proto.model import Kind, Plan

DOCUMENT = {
    "coordinator": {"contact": "https://example.org/probes"},
    "service": [
        {
            "name": "x",
            "component": [
                {
                    "name": "spaces",
                    "url": "https://spaces.x.test/live",
                    "families": [4, 6],
                    "kinds": ["icmp", "http", "dns", "tls", "tcp"],
                    "expect_body": "ok",
                    "server": "192.0.2.53",
                    "pinned": "192.0.2.1",
                }
            ],
        },
        {"name": "y", "component": [{"name": "web", "url": "http://y.test/"}]},
    ],
    "anchor": [{"name": "a", "url": "tcp://a.test:7"}],
}


def config(bin_s: int = 60) -> Config:
    """The document above, with bins of another width."""
    return validate({**DOCUMENT, "judging": {"bin_s": bin_s}}, file="f")


def plan(of: Config, services: frozenset[str] = frozenset({"x", "y", "anchor"})) -> Plan:
    """A plan for a probe that measures every component of these services."""
    definitions = define_checks(of, number_checks(check_ids(of), {}))
    components = {(one.service, one.name) for one in of.components() if one.service in services}
    return plan_for(definitions, components, config=of, version=3, issued_at_us=7)


def test_every_component_kind_and_family_is_one_check() -> None:
    """The plan is the product of what was written, each check with its own id."""
    ids = [check.check_id for check in plan(config()).checks]
    assert len(ids) == len(set(ids)) == (10 + 2) + (4 + 2) + (3 + 2)
    assert {"x/spaces/http/6", "y/web/dns/4", "anchor/a/tcp/4"} <= set(ids)


def test_a_check_carries_what_its_kind_needs_and_no_more() -> None:
    """Ports where there are ports, the body for http alone, the server for dns alone."""
    by_id = {check.check_id: check for check in plan(config()).checks}
    http, dns = by_id["x/spaces/http/4"], by_id["x/spaces/dns/6"]
    assert (http.port, http.use_tls, http.path, http.expect_body) == (443, True, "/live", "ok")
    assert (http.pinned, http.server) == ("192.0.2.1", None)
    assert (dns.port, dns.qtype, dns.server, dns.pinned) == (None, "AAAA", "192.0.2.53", None)
    assert by_id["x/spaces/dns/4"].qtype == "A"
    assert by_id["x/spaces/icmp/4"].port is None
    assert by_id["x/spaces/tls/4"].use_tls
    assert not by_id["y/web/http/4"].use_tls


def test_a_plan_says_who_asks_and_how_often_to_report() -> None:
    """The contact goes into the user agent; short bins are reported sooner."""
    slow, fast = plan(config()), plan(config(2))
    assert slow.user_agent == "soundings-probe (+https://example.org/probes)"
    assert (slow.flush_s, slow.heartbeat_s) == (5.0, 15.0)
    assert (fast.flush_s, fast.heartbeat_s) == (1.0, 10.0)
    assert (plan(config(1)).flush_s, slow.version, slow.issued_at_us) == (0.5, 3, 7)
    nameless = validate({"anchor": DOCUMENT["anchor"]}, file="f")
    assert plan(nameless).user_agent == "soundings-probe"


def test_a_plan_holds_the_components_that_it_is_made_of() -> None:
    """What else the configuration names is not in it."""
    kinds = {check.kind for check in plan(config(), frozenset({"anchor"})).checks}
    assert kinds == {Kind.ICMP, Kind.TCP, Kind.DNS, Kind.TRACE}
    only_y = plan(config(), frozenset({"y"})).checks
    assert {check.check_id.split("/")[0] for check in only_y} == {"y"}


IDS = st.lists(st.sampled_from([f"x/c{i}/tcp/4" for i in range(12)]), unique=True)


@given(st.lists(IDS, max_size=6))
def test_a_number_never_changes_its_check(configurations: list[list[str]]) -> None:
    """However checks come and go, a number keeps one meaning and a check keeps its number."""
    meaning: dict[int, str] = {}
    known: dict[str, int] = {}
    for ids in configurations:
        numbers = number_checks(ids, known)
        assert list(numbers) == ids
        for name, number in numbers.items():
            assert meaning.setdefault(number, name) == name
        known |= numbers
    assert len(set(known.values())) == len(known)
