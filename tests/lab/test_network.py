"""The running network: what it builds, what it runs, what it puts back."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from deploy.lab import netlink
from deploy.lab.faults import network as single
from deploy.lab.faults import scopes
from deploy.lab.faults.wire import FaultError
from deploy.lab.internet import internet
from deploy.lab.namespace import SandboxError, in_namespace, is_inside, sandbox_environment
from deploy.lab.network import Network
from deploy.lab.nft import NftError
from deploy.lab.topology import FAMILIES
from tests.fakes.witness import look

UP_LIMIT_S = 5.0  # 0.15 s alone; a loaded machine is allowed thirty times that


@pytest.mark.lab
def test_a_network_is_up_at_once(network: Network) -> None:
    """Every end machine answers every tenth vantage by both families as soon as `up` returns."""
    ends = [m.name for m in network.topology.machines.values() if not m.is_router]
    vantages = network.topology.vantages[::10]
    through = look(network, vantages, ends)["icmp"]
    assert len(through) == len(vantages) * len(ends) * len(FAMILIES)


@pytest.mark.lab
def test_building_is_cheap() -> None:
    """A fresh network per scenario costs next to nothing, and leaves no descriptor behind."""
    before = _descriptors()
    started = time.monotonic()
    with Network(internet()) as network:
        assert _descriptors() == before + len(network.topology.machines)
    assert time.monotonic() - started < UP_LIMIT_S
    assert _descriptors() == before


def _descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


@pytest.mark.lab
def test_what_is_started_ends_with_the_network() -> None:
    """A program left running, stopped even, with children of its own, is gone after `down`."""
    with Network(internet(countries=("DE",))) as network:
        process = network.popen("v01", ["sh", "-c", "sleep 60 & sleep 60"])
        os.killpg(process.pid, signal.SIGSTOP)
    assert process.returncode == -signal.SIGKILL


@pytest.mark.lab
def test_a_program_that_hangs_is_ended(network: Network) -> None:
    """`run` gives up at its limit, says so by having no exit code, and keeps what was printed."""
    ran = network.run("v01", ["sh", "-c", "echo begun; sleep 60"], timeout_s=0.3)
    assert (ran.exit_code, ran.output) == (None, "begun\n")


@pytest.mark.lab
def test_programs_and_sockets_are_where_they_should_be(network: Network) -> None:
    """A program, and a socket used outside of its block, have the machine's addresses."""
    ran = network.run("x-live", ["ip", "-o", "-4", "address"])
    assert f" {network.topology.address('x-live')}/31 " in ran.output
    with network.sock("x-live", socket.AF_INET, socket.SOCK_DGRAM) as channel:
        channel.bind((network.topology.address("x-live"), 0))


@pytest.mark.lab
def test_only_this_thread_moves(network: Network) -> None:
    """The block's thread is elsewhere inside and back outside, also after an error."""
    link = Path("/proc/thread-self/ns/net")
    before = link.readlink()
    others = ThreadPoolExecutor(1)
    assert others.submit(link.readlink).result() == before
    with in_namespace(network.namespace("v01")):
        assert link.readlink() != before
        assert others.submit(link.readlink).result() == before
    assert link.readlink() == before
    with contextlib.suppress(KeyError), in_namespace(network.namespace("v01")):
        raise KeyError
    assert link.readlink() == before
    others.shutdown()


@pytest.mark.lab
def test_a_setting_tells_what_it_was(network: Network) -> None:
    """A setting is written on one machine and the value to restore comes back."""
    key = "ipv4/ip_local_port_range"
    before = network.sysctl("v01", key, "61000 61001")
    assert network.sysctl("v01", key, before).split() == ["61000", "61001"]
    assert network.sysctl("v02", key, before).split() == before.split()


@pytest.mark.lab
def test_vantages_may_ping_without_rights(network: Network) -> None:
    """The unprivileged ICMP socket that probes use opens on a vantage, in both families."""
    for family, protocol in ((socket.AF_INET, socket.IPPROTO_ICMP), (socket.AF_INET6, 58)):
        network.sock("v01", family, socket.SOCK_DGRAM, protocol).close()


@pytest.mark.lab
@pytest.mark.parametrize("link", [("v01", "ac01"), ("ac01", "v01"), ("x-border", "tr1")])
def test_a_cable_comes_back_as_it_was(network: Network, link: tuple[str, str]) -> None:
    """After a link was down its ends have the addresses, neighbours and routes of before."""
    before = [_state(network, machine) for machine in link]
    network.set_link(*link, up=False)
    assert [_state(network, machine) for machine in link] != before
    network.set_link(*link, up=True)
    assert [_state(network, machine) for machine in link] == before


def _state(network: Network, machine: str) -> list[str]:
    asked = (["address"], ["route"], ["-6", "route"], ["neighbour", "show", "nud", "permanent"])
    lines = [
        line.strip()
        for words in asked
        for line in network.run(machine, ["ip", "-o", *words]).output.splitlines()
    ]
    # IPv6's own link-local addresses, and the number of users of a route, come and go by themselves.
    return sorted(line for line in lines if "fe80" not in line)


@pytest.mark.lab
def test_the_kernel_says_what_it_refuses(network: Network) -> None:
    """A refused request names itself, and the others of its batch are still carried out."""
    wrong = netlink.add_route("192.0.2.0/24", via="203.0.113.99", index=None)
    with pytest.raises(OSError, match=r"route 192.0.2.0/24 via 203.0.113.99: .* \(1 refused\)"):
        network.configure("v01", [wrong, netlink.add_address(1, "127.9.9.9", 32)])
    assert "127.9.9.9" in network.run("v01", ["ip", "address", "show", "lo"]).output


@pytest.mark.lab
def test_nft_says_what_it_refuses(network: Network) -> None:
    """A wrong rule raises with nft's own words and the rule."""
    with pytest.raises(NftError, match="add rule inet nowhere"):
        network.nft("ac01", "add rule inet nowhere c drop")


@pytest.mark.lab
def test_a_fault_that_cannot_be_done_leaves_the_network_whole(network: Network) -> None:
    """A second bottleneck on one link is refused, and afterwards the link passes all again."""
    first = scopes.target_saturated(network)
    second = scopes.target_saturated(network)
    with first, pytest.raises(FaultError, match="x-border: tc qdisc add dev to-x-pa"):
        second.apply()
    assert network.disturbances == []
    assert "tbf" not in network.run("x-border", ["tc", "qdisc"]).output


@pytest.mark.lab
def test_overlapping_faults_are_undone_in_any_order(network: Network) -> None:
    """Two faults on one link do not know of each other: clearing one leaves the other in force."""
    one = single.loss(network, link=("v01", "ac01"), percent=100, verdict_class="vantage_local")
    two = scopes.silent_uplink(network, "v01")
    one.apply()
    two.apply()
    one.clear()
    assert look(network, ["v01"], ["x-live"])["icmp"] == set()
    two.clear()
    assert len(look(network, ["v01"], ["x-live"])["icmp"]) == 2


def test_no_network_outside_the_sandbox() -> None:
    """Outside, building is refused before anything of the machine is touched."""
    if is_inside(os.environ):
        pytest.skip("this run is inside a sandbox")
    with pytest.raises(SandboxError, match="enter_sandbox"):
        Network(internet()).up()


def test_a_left_over_variable_does_not_count_as_inside() -> None:
    """A copied environment does not make a process believe it is in a sandbox."""
    assert not is_inside(sandbox_environment({}))
    assert not is_inside({})


@pytest.mark.lab
def test_killing_the_sandbox_kills_all() -> None:
    """When the sandbox's first process is killed, nothing started in it lives on."""
    script = (
        "import subprocess, sys; from deploy.lab.namespace import enter_sandbox; enter_sandbox();"
        "p = subprocess.Popen(['sleep', '60']); print('up', flush=True); p.wait()"
    )
    root = Path(__file__).resolve().parents[2]
    held, kept = os.pipe()  # the write end lives as long as any process that inherited it
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, cwd=root, pass_fds=[kept]
    ) as outer:
        os.close(kept)
        assert outer.stdout is not None
        assert outer.stdout.readline() == b"up\n"
        outer.kill()
    with os.fdopen(held, "rb") as rest:
        assert rest.read() == b""
