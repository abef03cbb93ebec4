"""`soundings probe check https://… --explain` as it is typed, against every way a service can fail.

The command runs as a process on a vantage of the real network of namespaces; what is broken is
really broken: nginx with another certificate, a closed port, a firewall's rule, a name that is not
there, a server that stops half-way through its body. What is held is what a person reads; that every
word comes out right is held by the table of words (word_table).
"""

from __future__ import annotations

import contextlib
import json
import re
import ssl
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import pytest

from deploy.lab import service_faults
from deploy.lab.certificates import FOREIGN_NAME
from deploy.lab.faults.network import HTTPS, drop_syn, reject, reset
from deploy.lab.ground import NamespaceGround
from deploy.lab.internet import internet
from deploy.lab.network import Network, Ran
from deploy.lab.rules import Action, Stage
from deploy.lab.services_up import Services, start_services
from tests.fakes.broken_servers import Script, response, serving

pytestmark = pytest.mark.lab

VANTAGE, EDGE = "v01", "cdn-edge"
BREAKING_MACHINE, BREAKING_PORT = "x-front", 8443

Breakage: TypeAlias = Callable[[Services], contextlib.AbstractContextManager[object]]

#: One step of a page: number, operation, time, the clock it rests on, word, address.
STEP = re.compile(r"^ *(\d+)  (\w+) +([\d.]+ m?s)  (\w+) +(\w+) +([0-9a-f.:]+)$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A step as the page shows it, with the row that decided."""

    operation: str
    time: str
    clock: str
    word: str
    path: str


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    """All services on one network for all of the pages."""
    with Network(internet(crowd=2)) as network:
        ground = NamespaceGround(network)
        running = start_services(ground, tmp_path_factory.mktemp("services"), seed=1)
        yield running
        running.stop()


def network_of(services: Services) -> Network:
    """The network that the services stand on."""
    assert isinstance(services.ground, NamespaceGround)
    return services.ground.network


def check(services: Services, target: str, *options: str) -> Ran:
    """Run `soundings probe check` on the vantage, as that vantage's operator would."""
    topology = services.ground.topology
    resolver = topology.address(topology.resolvers[VANTAGE][0])
    argv = [sys.executable, "-m", "soundings", "probe", "check", target, "--resolver", resolver]
    argv += ["--allow-network", "198.18.0.0/15", "--allow-network", "2001:db8::/32"]
    argv += ["--ca-file", str(services.shop.ca_file), *options]
    return network_of(services).run(VANTAGE, argv)


def explained(services: Services, target: str, *options: str) -> tuple[int | None, str]:
    """Exit code and page of `--explain`."""
    ran = check(services, target, "--explain", *options)
    return ran.exit_code, ran.output


def steps_in(page: str) -> list[Step]:
    """Every step, each with a time and a clock: a step without does not match."""
    lines = page.split("\nsteps\n")[1].split("\n\n", maxsplit=1)[0].splitlines()
    heads = [index for index, line in enumerate(lines) if not line.startswith("     ")]
    found = []
    for index in heads:
        match = STEP.match(lines[index])
        assert match is not None, lines[index]
        _, operation, time, clock, word, _ = match.groups()
        path = lines[index + 1].strip()
        found.append(Step(operation=operation, time=time, clock=clock, word=word, path=path))
    return found


# --- What is broken -------------------------------------------------------------------------------


def nothing(_: Services) -> contextlib.AbstractContextManager[object]:
    """All is well."""
    return contextlib.nullcontext()


def bad_certificate(flavour: str) -> Breakage:
    """The front's web server shows another certificate."""
    return lambda s: service_faults.certificate(s, component="web", flavour=flavour)


def answered_by_firewall(action: Action) -> Breakage:
    """The edge's own firewall answers connections to its port with this ICMP error."""
    return lambda s: reject(
        network_of(s), at=EDGE, toward=(EDGE,), kind=action, verdict_class="edge", port=HTTPS
    )


def reset_at_hello(services: Services) -> contextlib.AbstractContextManager[object]:
    """The connection is torn down as soon as it carries the first bytes."""
    return reset(
        network_of(services), at=EDGE, toward=(EDGE,), verdict_class="edge", stage=Stage.PAYLOAD
    )


def silence(services: Services) -> contextlib.AbstractContextManager[object]:
    """Nothing answers."""
    return drop_syn(network_of(services), at=EDGE, toward=(EDGE,), verdict_class="edge")


def closed_port(services: Services) -> contextlib.AbstractContextManager[object]:
    """The web server is gone; the machine answers with a real RST."""
    return service_faults.web_gone(services, machine=EDGE)


def hung_server(services: Services) -> contextlib.AbstractContextManager[object]:
    """The kernel still accepts, the web server no longer answers."""
    return service_faults.web_stopped(services, machine=EDGE)


def breaking_off(services: Services) -> contextlib.AbstractContextManager[object]:
    """A TLS server that sends a part of the body it announced, and leaves."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*services.shop.leaf("www.x.test"))
    says = response("200 OK", "Content-Length: 1000", body=b"half of it")
    scripts = {BREAKING_PORT: Script(says=says, context=context)}
    return serving(network_of(services), BREAKING_MACHINE, scripts)


# --- What is shown --------------------------------------------------------------------------------

RESOLVED = "resolve kernel good"
CONNECTED = "connect tcp_info good"
SECURED = "tls kernel good"
ASKED = "request user good"
ANSWERED = "reply kernel good"
GOOD = (RESOLVED, CONNECTED, SECURED, ASKED, ANSWERED)
#: After a bad certificate: connect once more without verifying, to see what is behind it.
LOOKED_AGAIN = (CONNECTED, SECURED, ASKED, ANSWERED)

WEB, STATIC = "https://www.x.test/", "https://static.x.test/app.js"
BREAKING = f"https://www.x.test:{BREAKING_PORT}/stream"


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """What is asked, what is broken, and the steps, the verdict and the path to it."""

    target: str
    broken: Breakage = nothing
    steps: tuple[str, ...]
    verdict: str = "good"
    path: str = ""
    says: str = ""
    options: tuple[str, ...] = ()


CASES = {
    "good": Case(
        target="https://spaces.x.test/live/join",
        steps=GOOD,
        says="made out to spaces.x.test; by CN=Lab Web CA; valid ",
    ),
    "good-over-ipv6": Case(
        target=WEB, options=("--family", "6"), steps=GOOD, says="http over IPv6 at [2001:db8:"
    ),
    "expired": Case(
        target=WEB,
        broken=bad_certificate("expired"),
        steps=(RESOLVED, CONNECTED, "tls kernel tls_expired", *LOOKED_AGAIN),
        verdict="FAILED: tls_expired at tls",
        path="verify code 10: expired -> tls_expired",
        says="certificate not good (verify code 10)",
    ),
    "wrong-name": Case(
        target=WEB,
        broken=bad_certificate("wrong-name"),
        steps=(RESOLVED, CONNECTED, "tls kernel tls_name_mismatch", *LOOKED_AGAIN),
        verdict="FAILED: tls_name_mismatch at tls",
        path="made out to another name or address -> tls_name_mismatch (verify code 62: ",
        says=f"made out to {FOREIGN_NAME}; by CN=Lab Web CA",
    ),
    "untrusted": Case(
        target=WEB,
        broken=bad_certificate("untrusted"),
        steps=(RESOLVED, CONNECTED, "tls kernel tls_untrusted", *LOOKED_AGAIN),
        verdict="FAILED: tls_untrusted at tls",
        path="-> tls_untrusted (verify code 19: ",
        says="by CN=Nobody Trusts This CA",
    ),
    "refused": Case(
        target=STATIC,
        broken=closed_port,
        steps=(RESOLVED, "connect user refused"),
        verdict="FAILED: refused at connect",
        path="errno ECONNREFUSED without ICMP -> refused",
    ),
    "reset-after-hello": Case(
        target=STATIC,
        broken=reset_at_hello,
        steps=(RESOLVED, CONNECTED, "tls user reset"),
        verdict="FAILED: reset at tls",
        path="-> reset (ECONNRESET)",
    ),
    "prohibited": Case(
        target=STATIC,
        broken=answered_by_firewall(Action.ADMIN_PROHIBITED),
        steps=(RESOLVED, "connect user prohibited"),
        verdict="FAILED: prohibited at connect",
        path="-> prohibited (EHOSTUNREACH, ICMPv4 3/13 from 198.18.8.",
    ),
    "silent": Case(
        target=STATIC,
        broken=silence,
        options=("--timeout-s", "1"),
        steps=(RESOLVED, "connect user timeout"),
        verdict="FAILED: timeout at connect",
        path="no answer before the deadline -> timeout",
    ),
    "silent-after-connect": Case(
        target=STATIC,
        broken=hung_server,
        options=("--timeout-s", "1"),
        steps=(RESOLVED, CONNECTED, "tls user timeout"),
        verdict="FAILED: timeout at tls",
        path="no answer before the deadline -> timeout",
    ),
    "nxdomain": Case(
        target="https://nobody.x.test/",
        steps=("resolve kernel dns_nxdomain",),
        verdict="FAILED: dns_nxdomain at resolve",
        path="rcode 3 NXDOMAIN -> dns_nxdomain",
        says="dns rcode 3: no answers",
    ),
    "503": Case(
        target="https://api.x.test/1.1/ping",
        broken=lambda s: service_faults.http_503(s, components=["api"]),
        steps=(RESOLVED, CONNECTED, SECURED, ASKED, "reply kernel http_status"),
        verdict="FAILED: http_status at reply",
        path="a status that the check does not expect -> http_status (503, ",
        says="HTTP/1.1 503",
    ),
    "truncated": Case(
        target=BREAKING,
        broken=breaking_off,
        steps=(RESOLVED, CONNECTED, SECURED, ASKED, "reply kernel http_truncated"),
        verdict="FAILED: http_truncated at reply",
        path="closed before the announced end of the body -> http_truncated (200, 10 bytes kept)",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_page(services: Services, name: str) -> None:
    """Every operation with its time and clock, the word, the row that chose it, and 0 or 1."""
    case = CASES[name]
    with case.broken(services):
        code, page = explained(services, case.target, *case.options)
    assert code == (0 if case.verdict == "good" else 1), page
    assert page.splitlines()[1] == case.verdict
    steps = steps_in(page)
    assert tuple(f"{s.operation} {s.clock} {s.word}" for s in steps) == case.steps, page
    assert case.says in page
    decided = [step.path for step in steps if step.word != "good"]
    assert len(decided) == (0 if case.verdict == "good" else 1)
    assert case.path in "".join(decided)
    assert ("asked again without verifying" in page) == ("certificate not good" in page)
    assert "Traceback" not in page


def test_slow_is_a_success_with_times(services: Services) -> None:
    """A reply that takes its time is good, and the kernel's stamps say how long it took."""
    with service_faults.slow_live(services, service_s=1.0):
        code, page = explained(services, "https://spaces.x.test/live/join")
    assert (code, page.splitlines()[1]) == (0, "good"), page
    reply = steps_in(page)[-1]
    seconds, unit = reply.time.split()
    assert (reply.operation, reply.clock, unit) == ("reply", "kernel", "s")
    assert 1.0 <= float(seconds) < 4.0
    assert re.search(r"first byte [1-3]\.\d+ s, total [1-3]\.\d+ s\n", page)


def test_silence_lasts_as_long_as_it_was_given(services: Services) -> None:
    """A timeout is shown with the time that was waited: what resolving left of the deadline."""
    with silence(services):
        ran = check(services, STATIC, "--explain", "--timeout-s", "1")
    number, unit = steps_in(ran.output)[-1].time.split()
    waited_s = float(number) / (1 if unit == "s" else 1000)
    assert 0.5 < waited_s < 2.0, ran.output


def test_data_name_the_router_that_refused(services: Services) -> None:
    """The page as data: an access network's firewall is named by its own address."""
    network = network_of(services)
    router = network.topology.access_of(VANTAGE)
    prohibit = Action.ADMIN_PROHIBITED
    fault = reject(network, at=router, toward=(EDGE,), kind=prohibit, verdict_class="edge")
    with fault:
        ran = check(services, STATIC, "--json")
    data: dict[str, Any] = json.loads(ran.output)
    (run,) = data["runs"]
    own = network.topology.link(VANTAGE, router).address(router, 4)
    seen = {key: run["result"][key] for key in ("failure", "router", "icmp_type", "icmp_code")}
    assert ran.exit_code == data["exit_code"] == 1
    assert seen == {"failure": "prohibited", "router": own, "icmp_type": 3, "icmp_code": 13}
    assert [step["operation"] for step in run["attempts"]] == ["resolve", "connect"]
    assert run["attempts"][0]["stamp_source"] == "kernel"


def test_policy_bars_what_nobody_allowed(services: Services) -> None:
    """An address that the operator did not allow is not contacted; the page says what to add; 9."""
    code, page = explained(services, WEB, "--pinned", "10.0.0.1")
    assert (code, page.splitlines()[1]) == (9, "not run: policy"), page
    assert "barred: 10.0.0.1 is private; add its network to allow_networks" in page
