"""An independent look at the lab: plain sockets and fping, nothing of the oracle's.

`Servers` answers on machines the way the kernel and three lines of Python do: TCP 443 completes
handshakes (nobody accepts), UDP 53 echoes. `look` tries everything at once and says what came back.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import select
import socket
import subprocess
import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from deploy.lab.network import Network

WAIT_S = 0.25  # paths are microseconds long: what has not come by then was dropped
PAYLOAD_WAIT_S = 0.15
PINGS = 40

Pair = tuple[str, str, int]  # vantage, machine, family


@contextmanager
def servers(network: Network, machines: Iterable[str]) -> Iterator[None]:
    """Serve TCP 443 and UDP 53, both families, on these machines."""
    stop_read, stop_write = socket.socketpair()
    with ExitStack() as stack, stop_read, stop_write:
        echoes = []
        for machine in machines:
            listener = stack.enter_context(
                network.sock(machine, socket.AF_INET6, socket.SOCK_STREAM)
            )
            listener.bind(("::", 443))
            listener.listen(512)
            echo = stack.enter_context(network.sock(machine, socket.AF_INET6, socket.SOCK_DGRAM))
            echo.bind(("::", 53))
            echoes.append(echo)
        thread = threading.Thread(target=_echo, args=(stop_read, echoes))
        thread.start()
        try:
            yield
        finally:
            stop_write.send(b"x")
            thread.join()


def _echo(stop: socket.socket, echoes: list[socket.socket]) -> None:
    while True:
        readable, _, _ = select.select([stop, *echoes], [], [])
        if stop in readable:
            return
        for each in readable:
            with contextlib.suppress(OSError):  # the answer was rejected on its way
                question, asker = each.recvfrom(64)
                each.sendto(question, asker)


def look(
    network: Network, vantages: Iterable[str], machines: Iterable[str]
) -> dict[str, set[Pair]]:
    """Try icmp, tcp, tls (a handshake and first bytes) and udp from each to each.

    What got through, by protocol.
    """
    vantages, machines = tuple(vantages), tuple(machines)
    pairs = list(itertools.product(vantages, machines, (4, 6)))
    with ThreadPoolExecutor() as threads:  # a thread each: moving namespaces moves one thread
        streams = threads.submit(_connections, network, pairs)
        datagrams = threads.submit(_echoes, network, pairs)
        pings = threads.submit(_pings, network, vantages, machines)
        connected, talking = streams.result()
        return {
            "tcp": connected,
            "tls": talking,
            "udp": datagrams.result(),
            "icmp": pings.result(),
        }


def _open(network: Network, pair: Pair, kind: int) -> tuple[socket.socket, tuple[str, int]]:
    vantage, machine, family = pair
    address = network.topology.address(machine, family)
    opened = network.sock(vantage, socket.AF_INET if family == 4 else socket.AF_INET6, kind)
    opened.setblocking(False)
    return opened, (address, 443 if kind == socket.SOCK_STREAM else 53)


def _connections(network: Network, pairs: list[Pair]) -> tuple[set[Pair], set[Pair]]:
    with ExitStack() as stack:
        pending: dict[int, tuple[Pair, socket.socket]] = {}
        poll = select.poll()
        for pair in pairs:
            opened, address = _open(network, pair, socket.SOCK_STREAM)
            stack.enter_context(opened)
            if opened.connect_ex(address) in {0, errno.EINPROGRESS}:
                pending[opened.fileno()] = (pair, opened)
                poll.register(opened, select.POLLOUT)
        connected = {pair: opened for pair, opened in _ready(poll, pending) if _is_good(opened)}
        for opened in connected.values():
            with contextlib.suppress(OSError):
                opened.send(b"\x16\x03\x01")
        poll = select.poll()
        talking = {opened.fileno(): (pair, opened) for pair, opened in connected.items()}
        for _, opened in talking.values():
            poll.register(opened, select.POLLIN)  # nobody answers: only a reset wakes it
        torn = {pair for pair, _ in _ready(poll, dict(talking), wait_s=PAYLOAD_WAIT_S)}
        return set(connected), set(connected) - torn


def _is_good(opened: socket.socket) -> bool:
    return opened.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0


def _echoes(network: Network, pairs: list[Pair]) -> set[Pair]:
    with ExitStack() as stack:
        pending: dict[int, tuple[Pair, socket.socket]] = {}
        poll = select.poll()
        for pair in pairs:
            opened, address = _open(network, pair, socket.SOCK_DGRAM)
            stack.enter_context(opened)
            with contextlib.suppress(OSError):  # a firewall of one's own says EPERM
                opened.sendto(b"?", address)
            pending[opened.fileno()] = (pair, opened)
            poll.register(opened, select.POLLIN)
        return {pair for pair, opened in _ready(poll, pending) if _received(opened)}


def _received(opened: socket.socket) -> bool:
    try:
        return opened.recv(64) == b"?"
    except OSError:
        return False


def _ready(
    poll: select.poll, pending: dict[int, tuple[Pair, socket.socket]], *, wait_s: float = WAIT_S
) -> Iterator[tuple[Pair, socket.socket]]:
    deadline = time.monotonic() + wait_s
    while pending and (left := deadline - time.monotonic()) > 0:
        for descriptor, _ in poll.poll(left * 1000):
            poll.unregister(descriptor)
            yield pending.pop(descriptor)


def _pings(network: Network, vantages: tuple[str, ...], machines: tuple[str, ...]) -> set[Pair]:
    options = ["-a", "-r0", "-i1", f"-t{WAIT_S * 1000:.0f}"]
    answers = _fping(network, vantages, machines, (4, 6), options)
    return {(v, m, f) for (v, f), lines in answers.items() for m, line in lines.items() if not line}


def _fping(
    network: Network,
    vantages: tuple[str, ...],
    machines: tuple[str, ...],
    families: tuple[int, ...],
    options: list[str],
) -> dict[tuple[str, int], dict[str, str]]:
    """Run fping on all vantages at once: (vantage, family) -> machine -> what follows its address."""
    running = {}
    for vantage, family in itertools.product(vantages, families):
        addresses = {network.topology.address(machine, family): machine for machine in machines}
        process = network.popen(
            vantage,
            ["fping", f"-{family}", *options, *addresses],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        running[vantage, family] = (addresses, process)
    found: dict[tuple[str, int], dict[str, str]] = {}
    for key, (addresses, process) in running.items():
        with process:
            split = [line.partition(" : ") for line in process.communicate()[0].splitlines()]
        found[key] = {
            addresses[head.strip()]: tail for head, _, tail in split if head.strip() in addresses
        }
    return found


@dataclass(frozen=True, slots=True)
class Pinged:
    """Many pings of one pair."""

    sent: int
    lost: int
    rtt_ms_min: float
    rtt_ms_max: float


def ping(
    network: Network, vantages: tuple[str, ...], machines: tuple[str, ...], *, count: int = PINGS
) -> dict[tuple[str, str], Pinged]:
    """Send each pair so many pings over IPv4, 20 ms apart, and count."""
    options = ["-q", f"-C{count}", "-p20", "-t1000"]
    answers = _fping(network, vantages, machines, (4,), options)
    return {
        (v, m): _counted(line) for (v, _), lines in answers.items() for m, line in lines.items()
    }


def _counted(line: str) -> Pinged:
    answers = line.split()
    good = [float(answer) for answer in answers if answer != "-"]
    lost = len(answers) - len(good)
    return Pinged(len(answers), lost, min(good, default=0.0), max(good, default=0.0))
