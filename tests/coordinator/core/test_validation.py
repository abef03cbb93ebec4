"""`soundings.toml`: what is good, what is said of what is not, and that all of it is said at once."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator.core.settings import Address, Config
from coordinator.core.validation import validate
from proto.model import ConfigError, Kind, Role

SERVICE = """
[[service]]
name = "x"
[[service.component]]
name = "spaces"
url = "https://spaces.x.test/live/join"
"""


def read(text: str) -> Config:
    """A config of a text."""
    return validate(tomllib.loads(text), file="f.toml")


def findings(text: str) -> tuple[str, ...]:
    """What is said of a bad text."""
    with pytest.raises(ConfigError) as caught:
        read(text)
    return caught.value.findings


def component(lines: str) -> str:
    """The one service with more lines in its component."""
    return f"{SERVICE}{lines}\n"


def test_the_smallest_file_gets_every_default() -> None:
    """A service with one component is a whole configuration."""
    config = read(SERVICE)
    (only,) = config.components()
    assert (config.doors.fleet, config.doors.enrol) == (
        Address("0.0.0.0", 7443),
        Address("0.0.0.0", 7444),
    )
    assert str(config.doors.web) == "127.0.0.1:8080"
    assert only.kinds == (Kind.ICMP, Kind.TCP, Kind.HTTP, Kind.DNS)
    assert (only.families, only.interval_s, only.timeout_s, only.packets) == ((4,), 30, 5, 3)
    assert (only.role, only.url.port, only.url.path) == (Role.SUBJECT, 443, "/live/join")
    assert (config.judging.bin_s, config.limits.batches_in_flight) == (60, 8)


EVERYTHING = """
[coordinator]
name = "demo"
fleet = "[::]:1"
enrol = "127.0.0.1:0"
web = ""
names = ["203.0.113.10", "c.example"]
contact = "https://example.org/probes"
[judging]
bin_s = 2
provisional_s = 3
revised_s = 4
final_s = 5
[defaults]
interval_s = 40
timeout_s = 2.5
packets = 2
families = [6]
kinds = ["tcp"]
[[service]]
name = "x"
title = "X"
[[service.component]]
name = "api"
url = "http://api.x.test:8080?q=1"
role = "sibling"
kinds = ["http", "dns"]
families = [4, 6]
interval_s = 31
timeout_s = 1
packets = 1
expect_status = [200, 204]
expect_body = "ok"
expect_answers = ["198.51.100.0/24"]
server = "192.0.2.53"
pinned = "198.51.100.7"
follow_redirects = 2
prefix = "198.51.100.0/24"
asn = 64500
[[anchor]]
name = "a"
url = "tls://a.test:853"
[[group]]
name = "hosting"
labels = { tier = "hosting" }
services = ["x"]
[limits]
batches_in_flight = 4
queue_mib = 1
per_target_per_minute = 3
free_mib = 0
"""


def test_every_key_of_the_file_is_read() -> None:
    """Nothing that a person may write is dropped on the way."""
    config = read(EVERYTHING)
    assert config.doors.web is None
    assert config.doors.names == ("203.0.113.10", "c.example")
    api, anchor = config.components()
    assert (api.url.scheme, api.url.port, api.url.path) == ("http", 8080, "/?q=1")
    assert (api.role, api.families, api.interval_s, api.timeout_s) == (Role.SIBLING, (4, 6), 31, 1)
    assert (api.expect_status, api.expect_answers) == ((200, 204), ("198.51.100.0/24",))
    assert (api.asn, api.prefix, api.pinned, api.server) == (
        64500, "198.51.100.0/24", "198.51.100.7", "192.0.2.53",
    )  # fmt: skip
    assert (anchor.role, anchor.service, anchor.kinds, anchor.families) == (
        Role.ANCHOR, "anchor", (Kind.TCP,), (6,),
    )  # fmt: skip
    assert config.groups[0].labels == {"tier": "hosting"}
    assert config.limits.free_mib == 0


ONE_FINDING = {
    "frob = 1\n" + SERVICE: (
        "f.toml: frob is not a key; known here: "
        "anchor, canary, coordinator, defaults, doubt, group, judging, limits, networks, service, trust"
    ),
    '[networks]\nfiles = ["a.csv"]\ncountry_from = "guessed"\n' + SERVICE: (
        'f.toml: networks.country_from is "guessed"; use one of seen, declared'
    ),
    "[coordinator]\nflet = 1\n" + SERVICE: (
        "f.toml: coordinator.flet is not a key; did you mean fleet?"
    ),
    "coordinator = 3\n" + SERVICE: "f.toml: coordinator is 3; it must be a table",
    'service = "x"\n[[anchor]]\nname = "a"\nurl = "tcp://a.test:1"': (
        'f.toml: service is "x"; it must be a list of tables, each begun with [[service]]'
    ),
    '[coordinator]\nname = "A b"\n' + SERVICE: (
        'f.toml: coordinator.name is "A b"; use 1 to 63 of a-z 0-9 . _ - and begin with a letter '
        "or digit"
    ),
    '[coordinator]\nfleet = "0.0.0.0"\n' + SERVICE: (
        'f.toml: coordinator.fleet is "0.0.0.0"; give "HOST:PORT" with a port from 0 to 65535, '
        'such as "0.0.0.0:7443" or "[::]:7443"'
    ),
    '[coordinator]\nenrol = "0.0.0.0:7443"\n' + SERVICE: (
        'f.toml: coordinator.enrol is "0.0.0.0:7443"; coordinator.fleet has that port already, '
        "choose another"
    ),
    '[coordinator]\nnames = ["-x-"]\n' + SERVICE: (
        'f.toml: coordinator.names is ["-x-"]; give a DNS name or an address, without a port'
    ),
    "[judging]\nbin_s = 7\n" + SERVICE: (
        "f.toml: judging.bin_s is 7; use a divisor or a multiple of 60"
    ),
    "[judging]\nrevised_s = 80\n" + SERVICE: (
        "f.toml: judging.provisional_s, revised_s, final_s is [90, 80, 86400]; let provisional_s, "
        "revised_s and final_s not decrease"
    ),
    "[defaults]\ninterval_s = 10\n" + SERVICE: (
        "f.toml: defaults.interval_s is 10; a vantage may ask a target 2 times a minute: give at "
        "least 30, or raise limits.per_target_per_minute"
    ),
    "[defaults]\ntimeout_s = 31\n" + SERVICE: (
        "f.toml: defaults.timeout_s is 31; a slot falls due every 30 s: give no more than that"
    ),
    '[defaults]\nkinds = ["quic"]\n' + SERVICE: (
        'f.toml: defaults.kinds is ["quic"]; use one of icmp, tcp, http, dns, tls'
    ),
    component("interval_s = 0"): (
        "f.toml: service[x].component[spaces].interval_s is 0; it must be between 1 and 3600 "
        "seconds"
    ),
    component('interval_s = "fast"'): (
        'f.toml: service[x].component[spaces].interval_s is "fast"; give a number of seconds '
        "between 1 and 3600"
    ),
    component("interval_s = 15"): (
        "f.toml: service[x].component[spaces].interval_s is 15; a vantage may ask a target 2 times "
        "a minute: give at least 30, or raise limits.per_target_per_minute"
    ),
    component("packets = 2.5"): (
        "f.toml: service[x].component[spaces].packets is 2.5; give a whole number of packets "
        "between 1 and 10"
    ),
    component("packets = 11"): (
        "f.toml: service[x].component[spaces].packets is 11; it must be between 1 and 10 packets"
    ),
    component("expect_status = []"): (
        "f.toml: service[x].component[spaces].expect_status is []; give a list of at least 1 "
        "values in [ ]"
    ),
    component("expect_status = [200, 200]"): (
        "f.toml: service[x].component[spaces].expect_status is [200, 200]; name each value once"
    ),
    component("families = [5]"): (
        "f.toml: service[x].component[spaces].families is [5]; use 4, 6 or both"
    ),
    component('kinds = ["tcp", "tls"]\nrole = "anchor"'): (
        'f.toml: service[x].component[spaces].role is "anchor"; use one of subject, sibling, '
        "neighbour, same_as, cdn_peer"
    ),
    component('prefix = "198.51.100.7/24"'): (
        'f.toml: service[x].component[spaces].prefix is "198.51.100.7/24"; give a prefix such as '
        "198.51.100.0/24, host bits zero"
    ),
    component("prefix = 3"): (
        "f.toml: service[x].component[spaces].prefix is 3; give a prefix such as 198.51.100.0/24, "
        "host bits zero"
    ),
    component('pinned = "spaces"'): (
        'f.toml: service[x].component[spaces].pinned is "spaces"; give an address such as '
        "198.51.100.7 or 2001:db8::7"
    ),
    component("pinned = 4"): (
        "f.toml: service[x].component[spaces].pinned is 4; give an address such as 198.51.100.7 or "
        "2001:db8::7"
    ),
    component('expect_body = "a\\u0007b"'): (
        'f.toml: service[x].component[spaces].expect_body is "a\\u0007b"; give a printable text of '
        "at most 400 characters"
    ),
    SERVICE + '[[service.component]]\nname = "spaces"\nurl = "https://y.test/"\n': (
        'f.toml: service[x].component.name is "spaces"; it is used twice, give each its own name'
    ),
    SERVICE + '[[service.component]]\nname = "b"\n': (
        "f.toml: service[x].component[b].url is missing; give it a value"
    ),
    SERVICE + '[[service.component]]\nurl = "https://y.test/"\n': (
        "f.toml: service[x].component[1].name is missing; give it a value"
    ),
    SERVICE + SERVICE: 'f.toml: service.name is "x"; it is used twice, give each its own name',
    SERVICE + '[[service]]\nname = "y"\n': (
        "f.toml: service[y].component is []; give it at least one [[service.component]]"
    ),
    SERVICE.replace('"x"', '"anchor"'): (
        'f.toml: service[anchor].name is "anchor"; that name is kept for [[anchor]] tables'
    ),
    SERVICE + '[[group]]\nname = "g"\nservices = ["z"]\n': (
        'f.toml: group[g].services is "z"; name services of this file: x'
    ),
    SERVICE + '[[group]]\nname = "g"\nservices = ["x"]\nlabels = { a = 1 }\n': (
        'f.toml: group[g].labels is {"a": 1}; give a table of texts, such as { tier = "hosting" }'
    ),
    '[[group]]\nname = "g"\nservices = ["z"]\n[[anchor]]\nname = "a"\nurl = "tcp://a.test:1"\n': (
        'f.toml: group[g].services is "z"; name services of this file: there is none'
    ),
    SERVICE + '[[group]]\nname = "g"\n': ("f.toml: group[g].services is missing; give it a value"),
    "": "f.toml: service is []; give at least one [[service]] or [[anchor]] to measure",
}


@pytest.mark.parametrize("text", ONE_FINDING)
def test_a_mistake_is_named_with_file_key_value_and_fix(text: str) -> None:
    """Each mistake gives exactly one finding, word for word."""
    assert findings(text) == (ONE_FINDING[text],)


URLS = {
    "ftp://x.test/": "give a URL such as",
    "https://": "give a URL such as",
    "https://a b.test/": "give a URL such as",
    "https://x.test:99999/": "Port out of range",
    "tcp://x.test": "name the port, such as tcp://x.test:443",
    "https://***@x.test/": "leave out credentials",
    "https://x.test/#top": "leave out credentials and #fragment",
    "https://x.test/ö": "percent-encode the path",
    "https://x.test/a?b c": "percent-encode the path",
}


@pytest.mark.parametrize("url", URLS)
def test_a_url_that_probes_cannot_fetch_is_refused(url: str) -> None:
    """Every refused form of URL says what to write instead."""
    (finding,) = findings(SERVICE.replace("https://spaces.x.test/live/join", url))
    assert finding.startswith(f'f.toml: service[x].component[spaces].url is "{url}"; ')
    assert URLS[url] in finding


def test_a_url_is_a_text() -> None:
    """A number is no URL."""
    (finding,) = findings(SERVICE.replace('"https://spaces.x.test/live/join"', "3"))
    assert "url is 3; give a URL" in finding


@pytest.mark.parametrize(
    "door", ["3", '"h:p"', '"::1:7"', '"[::1:7"', '"a b:7"', '":7"', '"[a]:7"']
)
def test_a_door_that_cannot_be_listened_on_is_refused(door: str) -> None:
    """Every malformed address of a door is one finding."""
    (finding,) = findings(f"[coordinator]\nweb = {door}\n{SERVICE}")
    assert "coordinator.web is" in finding
    assert 'give "HOST:PORT"' in finding


def test_what_defaults_ask_and_a_url_cannot_give_is_left_out() -> None:
    """A bare port is not asked for HTTP, nor an address literal for DNS."""
    config = read(
        '[[anchor]]\nname = "a"\nurl = "tcp://192.0.2.1:53"\n'
        '[[anchor]]\nname = "b"\nurl = "https://[2001:db8::1]/"\nkinds = ["tls"]\nfamilies = [6]\n'
    )
    assert [anchor.kinds for anchor in config.anchors] == [(Kind.ICMP, Kind.TCP), (Kind.TLS,)]
    assert [anchor.families for anchor in config.anchors] == [(4,), (6,)]


IMPOSSIBLE = {
    'url = "tcp://a.test:1"\nkinds = ["http"]': (
        'kinds is "http"; http needs a URL that begins with http:// or https://'
    ),
    'url = "http://a.test/"\nkinds = ["tls"]': (
        'kinds is "tls"; tls needs a URL that begins with https:// or tls://'
    ),
    'url = "http://192.0.2.1/"\nkinds = ["dns"]': (
        'kinds is "dns"; dns needs a name, and the URL has an address'
    ),
    'url = "http://192.0.2.1/"\nfamilies = [6]': (
        "families is [6]; the URL's address is IPv4: give [4] or leave it out"
    ),
}


@pytest.mark.parametrize("lines", IMPOSSIBLE)
def test_what_a_component_asks_and_its_url_cannot_give_is_a_finding(lines: str) -> None:
    """An explicit wish is never dropped silently."""
    assert findings(f'[[anchor]]\nname = "a"\n{lines}\n') == (
        f"f.toml: anchor[a].{IMPOSSIBLE[lines]}",
    )


def test_defaults_that_leave_nothing_to_measure_are_a_finding() -> None:
    """A component without any possible check is a mistake, not a silence."""
    text = '[defaults]\nkinds = ["dns"]\n[[anchor]]\nname = "a"\nurl = "tcp://192.0.2.1:1"\n'
    (finding,) = findings(text)
    assert finding == (
        'f.toml: anchor[a].kinds is ["dns"]; none of defaults.kinds can be asked of this URL, '
        "give the component its own"
    )


def test_a_default_that_is_wrong_for_many_components_is_said_once() -> None:
    """The person mends one line, so the program says one line."""
    more = SERVICE + '[[service.component]]\nname = "b"\nurl = "https://b.test/"\n'
    assert len(findings("[defaults]\ninterval_s = 10\n" + more)) == 1


def test_all_mistakes_are_said_at_once() -> None:
    """Nobody mends a file one finding at a time."""
    text = (
        "[coordinator]\nflet = 1\n[judging]\nbin_s = 0\n"
        + component("interval_s = 0\npackets = 0")
        + '[[group]]\nname = "G"\nservices = ["y"]\n'
    )
    assert len(findings(text)) == 6


def test_a_configuration_has_a_largest_size() -> None:
    """Ten thousand checks, controls and traces included, are the most that one file may hold."""
    anchors = "".join(
        f'[[anchor]]\nname = "a{i}"\nurl = "http://a{i}.test/"\nfamilies = [4, 6]\n'
        for i in range(834)
    )
    assert findings(anchors) == (
        'f.toml: service is "10008 checks"; one configuration may hold 10000',
    )


def test_a_long_value_is_cut_in_its_finding() -> None:
    """A finding stays one line however long the value was."""
    (finding,) = findings(f'[coordinator]\nname = "{"A" * 500}"\n{SERVICE}')
    assert len(finding) < 220


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=12,
)
TOP = st.sampled_from(
    ["coordinator", "judging", "defaults", "service", "anchor", "group", "limits", "other"]
)


@given(st.dictionaries(TOP, VALUES, max_size=8))
def test_any_document_is_a_config_or_findings(document: dict[str, Any]) -> None:
    """Whatever a file parses to, reading it ends in a value or in findings, never in a crash."""
    findings_or_none: tuple[str, ...] = ()
    try:
        validate(document, file="f")
    except ConfigError as error:
        findings_or_none = error.findings
    assert all(finding.startswith("f: ") for finding in findings_or_none)
