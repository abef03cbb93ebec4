"""One measurement on request: read like a component, given to fitting probes, bounded per target."""

from __future__ import annotations

import pytest

from coordinator.core.assigning import Candidate
from coordinator.core.oneoff import (
    Allowance,
    Request,
    RequestRefusedError,
    choose,
    config_of,
    definitions_of,
    plan_of,
)
from coordinator.core.registry import Vantage
from proto.model import Kind

URL = "https://www.x.test/live?a=1"


def candidate(name: str, asn: int, country: str = "DE") -> Candidate:
    """A connected probe."""
    return Candidate(probe_id=name, vantage=Vantage(asn=asn, country=country))


def test_a_request_is_a_component_of_its_own() -> None:
    """Every kind that the URL allows, without slots and without what would follow a failure."""
    definitions = definitions_of(config_of(Request(url=URL), token="t1"), {"a": 7})
    ids = [one.check.check_id for one in definitions]
    assert all(one.startswith("once/www.x.test.t1/") for one in ids)
    assert {one.check.kind for one in definitions} == {Kind.ICMP, Kind.TCP, Kind.HTTP, Kind.DNS}
    assert [one.check.check_no for one in definitions] == [8, 9, 10, 11]
    for one in definitions:
        assert (one.check.interval_s, one.check.on_failure, one.check.confirm_after_s) == (
            0,
            (),
            (),
        )
    plan = plan_of(definitions, number=5, issued_at_us=6)
    assert (len(plan.checks), plan.version, plan.issued_at_us) == (4, 5, 6)


def test_a_request_names_kinds_and_families() -> None:
    """And a host of odd letters still has a name."""
    request = Request(url="tcp://[2001:db8::1]:53", kinds=("tcp",))
    (only,) = definitions_of(config_of(request, token="t"), {})
    assert (only.check.family, only.component.name) == (6, "2001-db8--1.t")
    both = Request(url=URL, kinds=("tcp",), families=(4, 6))
    assert len(definitions_of(config_of(both, token="t"), {})) == 2


@pytest.mark.parametrize(
    ("request_", "text"),
    [
        (Request(url="ftp://x"), 'URL is "ftp://x"; give a URL such as'),
        (Request(url=URL, kinds=("smtp",)), '--kinds is ["smtp"]; use one of'),
        (Request(url=URL, families=(5,)), "--family is [5]; use 4, 6 or both"),
        (Request(url=URL, countries=("de",)), '--country is ["de"]; give two capital letters'),
        (Request(url=URL, probes=0), "--from is 0; give 1 to 500"),
        (Request(url=URL, probes=501), "--from is 501; give 1 to 500"),
        (Request(url=URL, asns=(0,)), "--asn is [0]; give the number of an AS"),
        (Request(url=URL, labels={"A": "b"}), '--label is {"A": "b"}; use 1 to 63'),
        (Request(url=""), 'URL is ""; give a URL'),
    ],
)
def test_a_bad_request_is_explained_in_the_words_of_the_command(
    request_: Request, text: str
) -> None:
    """The option, its value and the fix, whatever the reader of files would call it."""
    with pytest.raises(RequestRefusedError, match=" is ") as caught:
        config_of(request_, token="t")
    assert str(caught.value).startswith(text)


def test_probes_are_chosen_among_those_that_fit() -> None:
    """In as many networks as can be; nobody who fits is a reason, not an empty answer."""
    present = [candidate(f"p{i}", 64500 + i % 3) for i in range(9)]
    chosen = choose(config_of(Request(url=URL), token="t"), present, probes=3)
    assert len({int(name[1:]) % 3 for name in chosen}) == 3
    only = config_of(Request(url=URL, asns=(64501,)), token="t")
    assert {int(name[1:]) % 3 for name in choose(only, present, probes=9)} == {1}
    with pytest.raises(RequestRefusedError, match="of 9 connected probes none"):
        choose(config_of(Request(url=URL, countries=("FR",)), token="t"), present, probes=1)
    with pytest.raises(RequestRefusedError, match="no probe is connected"):
        choose(only, (), probes=1)


def test_a_target_is_asked_no_more_by_requests_than_by_the_schedule() -> None:
    """What was asked counts for a minute; another host has an allowance of its own."""
    allowance = Allowance()
    config = config_of(Request(url=URL, kinds=("tcp", "http")), token="t")
    other = config_of(Request(url="https://y.test/", kinds=("tcp",)), token="t")
    allowance.take(config, probes=4, ceiling=10, now_us=0)
    with pytest.raises(RequestRefusedError, match=r"would be asked 12 times .* allows 10"):
        allowance.take(config, probes=2, ceiling=10, now_us=1)
    allowance.take(config, probes=1, ceiling=10, now_us=2)
    allowance.take(other, probes=10, ceiling=10, now_us=3)
    allowance.take(config, probes=5, ceiling=10, now_us=60_000_002)
