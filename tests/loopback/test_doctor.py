"""`soundings probe doctor` as it is typed: real listeners, a real state directory, nothing beyond loopback."""

from __future__ import annotations

import argparse
import json
import re
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import dns.message
import dns.rdatatype
import pytest

from probe import doctor
from probe.against import HOSTS_MAX, Target, anchors_of, named, read_hosts
from probe.core.doctor import ResolverReading
from probe.core.memory import AddressMemory
from probe.io import hostfacts
from probe.io.clock import kernel_clock, synchronised, wall_us
from probe.io.disk import OsDisk, Spool, SpoolSettings, StillDisk
from probe.io.sightings import Sightings
from probe.io.state import StateDirectory
from probe.io.ways import gateway_state, interface_to
from probe.plans import FILE as PLAN_FILE
from probe.resolving import KNOWN, KNOWN_A, KNOWN_AAAA, read_resolvers
from proto.model import ConfigError, Control, HostLimits, Kind, Plan
from tests.fakes.boxes import loopback_box
from tests.fakes.checks import check
from tests.fakes.dns_server import Behaviour, dns_server, reply
from tests.fakes.fleet import Coordinator
from tests.fakes.vantage import enrolled


@pytest.fixture(name="config")
def a_config(tmp_path: Path) -> Path:
    """A probe.toml that allows loopback and names no server but a dead one."""
    path = tmp_path / "probe.toml"
    path.write_text('allow_networks = ["127.0.0.0/8"]\nresolvers = ["127.0.0.1:1"]\n')
    return path


async def examine(*words: object) -> int:
    """Run `soundings probe doctor` with these words."""
    parser = argparse.ArgumentParser()
    doctor.add_arguments(parser)
    return await doctor.doctor(parser.parse_args([str(word) for word in words]))


async def found(capsys: pytest.CaptureFixture[str], *words: object) -> dict[str, dict[str, str]]:
    """The findings by name; the exit code is the one that the data tell."""
    code = await examine("--json", *words)
    data: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert code == data["exit_code"]
    return {finding["name"]: finding for finding in data["findings"]}


def tells(*, nobody: str | None = None, known: str = KNOWN_A, six: bool = True) -> Behaviour:
    """A resolver of the root, of one of its servers, and of what it invents."""

    def behave(query: bytes, _number: int) -> Sequence[bytes]:
        (question,) = dns.message.from_wire(query).question
        name, kind = (
            question.name.to_text(omit_final_dot=True),
            dns.rdatatype.to_text(question.rdtype),
        )
        if kind == "NS":
            message = dns.message.make_response(dns.message.from_wire(query))
            message.answer.append(dns.rrset.from_text(".", 60, "IN", "NS", f"{KNOWN}."))
            return [message.to_wire()]
        if name == KNOWN:
            given = known if kind == "A" else KNOWN_AAAA
            return [reply(query, *([f"{name} 60 {kind} {given}"] if six or kind == "A" else []))]
        if nobody is None:
            return [reply(query, rcode=3)]
        return [reply(query, f"{name} 60 A {nobody}")]

    return behave


@pytest.mark.parametrize(
    ("behaviour", "lies"),
    [
        (tells(), {}),
        (tells(nobody="192.0.2.80"), {"invents": "192.0.2.80"}),
        (tells(known="192.0.2.80"), {"rewrites": "192.0.2.80"}),
        (tells(six=False), {"hides_ipv6": True}),
    ],
)
async def test_the_lies_of_a_resolver(behaviour: Behaviour, lies: dict[str, Any]) -> None:
    """A name that nobody has, an address that is known, and one of IPv6: each tells its lie."""
    async with dns_server(behaviour) as server, loopback_box(resolvers=(server.endpoint,)) as box:
        (reading,) = await read_resolvers(box.resolvers())
    assert reading.rtt_us is not None
    expected = ResolverReading(server=server.endpoint, rtt_us=reading.rtt_us, trouble=None, **lies)
    assert reading == expected


async def test_each_resolver_is_asked_by_itself(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A good one does not hide a dead one."""
    async with dns_server(tells()) as server:
        options = ("--resolver", server.endpoint, "--resolver", "127.0.0.1:1")
        findings = await found(capsys, "--config", config, *options)
    assert findings[f"resolver {server.endpoint}"]["level"] == "ok"
    assert findings["resolver 127.0.0.1:1"]["level"] == "broken"


async def test_what_is_tried_on_loopback(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Stamps both ways and the error queue are seen, and every ailment has a cost and a remedy."""
    findings = await found(capsys, "--config", config)
    for name in ("kernel receive stamps", "kernel send stamps", "ICMP error queue"):
        assert findings[name]["level"] == "ok"
    assert all(one["fix"] and one["costs"] for one in findings.values() if one["level"] != "ok")


async def test_the_page_of_a_dead_resolver(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is broken comes first, no line is wider than a terminal, and that is no good end."""
    assert await examine("--config", config) in {1, 9}
    page = capsys.readouterr().out
    assert page.startswith("broken ")
    assert "broken   resolver 127.0.0.1:1: ICMP port unreachable" in page
    assert all(len(line) <= 80 for line in page.splitlines())


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("--resolver", "nobody"), "'nobody' is no server"),
        (
            ("--against", "a:b"),
            "--against 'a:b': write it as HOST, HOST:PORT or [2001:db8::1]:PORT",
        ),
    ],
)
async def test_usage(
    config: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], text: str
) -> None:
    """An option that makes no sense is said; 2."""
    assert await examine("--config", config, *words) == 2
    assert text in capsys.readouterr().err


async def test_files_that_are_missing(config: Path) -> None:
    """A missing authority file is named."""
    with pytest.raises(ConfigError, match=r"nowhere\.pem"):
        await examine("--config", config, "--ca-file", config.parent / "nowhere.pem")


# --- Hosts to compare by --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "targets"),
    [
        ("x.test", [Target("x.test", 443, 4), Target("x.test", 443, 6)]),
        ("x.test:80", [Target("x.test", 80, 4), Target("x.test", 80, 6)]),
        ("192.0.2.1", [Target("192.0.2.1", 443, 4)]),
        ("192.0.2.1:80", [Target("192.0.2.1", 80, 4)]),
        ("2001:db8::1", [Target("2001:db8::1", 443, 6)]),
        ("[2001:db8::1]:80", [Target("2001:db8::1", 80, 6)]),
    ],
)
def test_hosts_as_people_write_them(text: str, targets: list[Target]) -> None:
    """A name is compared over every family that is here, an address over its own."""
    assert list(named(text, {4, 6})) == targets
    if len(targets) == 2:
        assert list(named(text, ())) == targets[:1]


@pytest.mark.parametrize(
    "text", ["", ":80", "x.test:", "x.test:0", "x.test:65536", "[::1]80", "a:b:c", "2001:db8::x"]
)
def test_what_is_no_host(text: str) -> None:
    """Said with how to write it."""
    with pytest.raises(ValueError, match="write it as HOST"):
        named(text, {4})


def test_anchors_of_a_plan() -> None:
    """Those that take connections, once each, so many at most; no controls and no services."""
    anchors = [
        check(kind, check_id=f"anchor/a{number}/{kind}", host=f"a{number}.test", port=443)
        for number in range(HOSTS_MAX + 2)
        for kind in (Kind.TCP, Kind.HTTP)
    ]
    others = [
        check(check_id="x/web/tcp/4", host="x.test", port=443),
        check(Kind.ICMP, check_id="anchor/a0/icmp", host="i.test"),
        check(check_id="anchor/a0/r", host="r.test", port=443, control=Control.REMEMBERED),
    ]
    found = anchors_of([*others, *anchors])
    assert [target.host for target in found] == [f"a{number}.test" for number in range(HOSTS_MAX)]


async def test_a_host_is_reached_both_ways() -> None:
    """By connections, by echoes where this process may, and as far away by both."""
    with socket.create_server(("127.0.0.2", 0)) as listener:
        target = Target("127.0.0.2", listener.getsockname()[1], 4)
        async with loopback_box() as box:
            (reading,) = await read_hosts(box, HostLimits(), [target, target])
            may_ping = 4 in box.pingers
    assert (reading.name, reading.address) == (target.name, "127.0.0.2")
    assert reading.tcp_rtt_us is not None
    assert (reading.icmp_rtt_us is not None) == may_ping
    assert (reading.tcp_hops, reading.icmp_hops) == ((1, 1) if may_ping else (None, None))


async def test_a_dead_host_says_why() -> None:
    """Nobody listens: contacted, and refused."""
    async with loopback_box() as box:
        (reading,) = await read_hosts(box, HostLimits(), [Target("127.0.0.2", 1, 4)])
    assert (reading.tcp_rtt_us, reading.trouble) == (None, "refused at connect")
    assert reading.tried


async def test_the_policy_holds_for_hosts_that_are_named() -> None:
    """What no check may contact, doctor does not contact either."""
    with socket.create_server(("127.0.0.2", 0)) as listener:
        listener.setblocking(False)
        async with loopback_box(allow_networks=()) as box:
            target = Target("127.0.0.2", listener.getsockname()[1], 4)
            (reading,) = await read_hosts(box, HostLimits(), [target])
        with pytest.raises(BlockingIOError):
            listener.accept()
    assert not reading.tried
    assert "127.0.0.2 is loopback; add its network" in (reading.trouble or "")


async def test_the_rates_hold_for_hosts_that_are_named() -> None:
    """With one contact a minute there is one."""
    with socket.create_server(("127.0.0.2", 0)) as listener:
        listener.setblocking(False)
        async with loopback_box() as box:
            target = Target("127.0.0.2", listener.getsockname()[1], 4)
            (reading,) = await read_hosts(box, HostLimits(per_target_per_minute=1), [target])
        listener.accept()[0].close()
        with pytest.raises(BlockingIOError):
            listener.accept()
    assert reading.tcp_rtt_us is not None
    assert (reading.icmp_rtt_us, reading.tcp_hops) == (None, None)


# --- An enrolled probe ----------------------------------------------------------------------------


async def test_the_coordinator_is_there_and_then_away(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It knocks at the coordinator's door as a check would."""
    with Coordinator() as coordinator:
        state = enrolled(tmp_path / "state", coordinator)
        levels = []
        for _ in range(2):
            findings = await found(capsys, "--state", state, "--config", config)
            levels.append({name.split()[0]: one["level"] for name, one in findings.items()})
            coordinator.stop()
    assert [at["coordinator"] for at in levels] == ["ok", "broken"]
    assert [at["plan"] for at in levels] == ["limited", "limited"]


async def test_what_the_coordinator_saw_is_compared_with_the_own_address(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What the probe kept of its last session tells NAT better than the own address alone."""
    own = "127.0.0.1"  # the configuration sends from there
    with Coordinator() as coordinator:
        state = enrolled(tmp_path / "state", coordinator)
        await Sightings(StateDirectory(state)).note(own, "192.0.2.1")
        capsys.readouterr()  # it says so to its log
        findings = await found(capsys, "--state", state, "--config", config)
    told = f"behind NAT: the coordinator sees 192.0.2.1, this host has {own}"
    assert told in findings["address for IPv4"]["says"]


async def test_a_coordinator_that_the_policy_bars_is_not_called_broken(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The probe's own link asks no policy; doctor's comparison does."""
    bare = tmp_path / "bare.toml"
    bare.write_text('resolvers = ["127.0.0.1:1"]\n')
    with Coordinator() as coordinator:
        state = enrolled(tmp_path / "state", coordinator)
        findings = await found(capsys, "--state", state, "--config", bare)
    (door,) = (one for name, one in findings.items() if name.startswith("coordinator"))
    assert (door["level"], "127.0.0.1 is loopback" in door["says"]) == ("limited", True)


async def test_the_settings_are_those_of_the_state_directory(
    tmp_path: Path,
) -> None:
    """As `probe run` reads them; another probe's limits would be compared with this one's plan."""
    (tmp_path / "probe.toml").write_text("[limits]\ncheks_per_s = 1\n")
    with pytest.raises(ConfigError, match=re.escape(f"{tmp_path}/probe.toml")):
        await examine("--state", tmp_path)


async def test_what_the_state_holds(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Plan, spool and memory in words, and the plan's anchors are compared; nothing is changed."""
    with Coordinator() as coordinator, socket.create_server(("127.0.0.3", 0)) as listener:
        port = listener.getsockname()[1]
        state = StateDirectory(enrolled(tmp_path / "state", coordinator))
        anchor = check(check_id="anchor/a/tcp/4", host="127.0.0.3", port=port)
        signed = coordinator.authority.sign(Plan(version=7, checks=(anchor,)))
        state.write(PLAN_FILE, signed.SerializeToString())
        memory = AddressMemory()
        memory.remember("x.test", ["192.0.2.1"], family=4, now_us=wall_us()())
        state.write("addresses.json", memory.dump(now_us=wall_us()()))
        spool = Spool(OsDisk(state.spool), settings=SpoolSettings(), now_us=wall_us()())
        spool.put(body=b"rows", rows=5, raw_bytes=4, codec=0, first_at_us=wall_us()() - 90_000_000)
        before = {path: path.read_bytes() for path in state.path.rglob("*") if path.is_file()}
        findings = await found(capsys, "--state", state.path, "--config", config)
        after = {path: path.read_bytes() for path in state.path.rglob("*") if path.is_file()}
    assert findings["plan"]["says"] == "version 7, 1 checks, for probe probe-1"
    assert findings["spool"]["says"].startswith("5 rows wait, oldest 9")
    assert findings["remembered addresses"]["says"].startswith("1 names")
    assert findings[f"host 127.0.0.3:{port} over IPv4"]["level"] == "ok"
    assert before == after


DAMAGES = [
    (PLAN_FILE, b"\xff\xff", "plan", "plan.bin is damaged"),
    (PLAN_FILE, b"", "plan", "its signature is not by a CA"),
    ("addresses.json", b"{", "remembered addresses", "0 names"),
    ("endpoint.json", b"{", "spool", "endpoint.json: it cannot be read"),
    ("spool", b"no directory", "disk", "MiB are free"),
]


@pytest.mark.parametrize("damage", DAMAGES)
async def test_a_damaged_state_is_told(
    config: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    damage: tuple[str, bytes, str, str],
) -> None:
    """Each file by itself; doctor goes on."""
    name, content, finding, says = damage
    with Coordinator() as coordinator:
        state = StateDirectory(enrolled(tmp_path / "state", coordinator))
        (state.path / name).write_bytes(content)
        findings = await found(capsys, "--state", state.path, "--config", config)
    assert says in findings[finding]["says"]


def test_who_looks_at_a_spool_leaves_it_as_it_is(tmp_path: Path) -> None:
    """A torn tail may be a record that the running probe is just writing."""
    spool = Spool(OsDisk(tmp_path), settings=SpoolSettings(), now_us=1)
    for number in range(2):
        spool.put(body=b"rows", rows=5, raw_bytes=4, codec=0, first_at_us=number)
    (segment,) = tmp_path.glob("*.seg")
    torn = segment.read_bytes()[:-3]
    segment.write_bytes(torn)
    looked = Spool(StillDisk(tmp_path), settings=SpoolSettings(), now_us=2)
    assert (looked.rows, segment.read_bytes()) == (5, torn)
    with pytest.raises(OSError, match="only looked at"):
        StillDisk(tmp_path).append("x", b"")


# --- The kernel's word ----------------------------------------------------------------------------


def test_loopback_is_an_interface_without_a_gateway() -> None:
    """The routing table and the table of neighbours are asked, and nothing is sent."""
    assert interface_to("127.0.0.1") == "lo"
    assert hostfacts.link_facts("lo") == (65536, 772)
    assert interface_to("nonsense") is None
    assert hostfacts.link_facts("nowhere0") == (None, None)
    assert gateway_state("192.0.2.254") is None


def test_the_kernels_clock_agrees_with_itself() -> None:
    """One system call, two readers."""
    clock = kernel_clock()
    assert (None if clock is None else clock.synchronised) == synchronised()
    if clock is not None:
        assert clock.bound_us >= 0
        assert abs(clock.correction_ppm) <= 500


@pytest.mark.parametrize("family", [4, 6])
async def test_packets_are_counted(family: int) -> None:
    """What comes back over loopback has been received and delivered."""
    if not await hostfacts.loopback_answers(family):
        pytest.skip("no loopback of this family")
    before = hostfacts.counters(family)
    assert await hostfacts.loopback_answers(family)
    after = hostfacts.counters(family)
    assert before is not None
    assert after is not None
    assert after.received > before.received
    assert after.delivered > before.delivered
