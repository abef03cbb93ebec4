"""Looks after connections that have said nothing yet, below what gRPC shows of them.

gRPC's core accepts connections, times out those that stay silent, and refuses certificates, but it
tells nobody, and its one cap on connections counts all of them together: a single source shuts everybody
out. What a process may always do is look at its own sockets. A look lists them, takes those of our doors
over which no call was admitted, shuts down what one source has too many of (gRPC then sees an end of
file), and counts those that went without a call. One costs 25 ms at 8,000 connections.

gRPC asks for the server's certificate once for each connection that it accepts; that is counted, too.
So nobody is missed who came and went between two looks, although only the doors' sum of them is known.

Linux only: elsewhere nothing is looked at, and docs/security.md says what then is up to the firewall.
"""

from __future__ import annotations

import os
import socket
import stat
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from coordinator.core.doorway import Peer, Refusal, Stranger, peer_of, plain, source_of, surplus
from coordinator.refusals import Refusals

UNSEEN: Final = "unseen"
"""The source of whoever came and went between two looks."""

_DESCRIPTORS: Final = Path("/proc/self/fd")


@dataclass(frozen=True, slots=True)
class _Connection:
    door: str
    peer: Peer
    since_us: int

    @property
    def source(self) -> str:
        return source_of(self.peer[0])


@dataclass(frozen=True, slots=True)
class Sight:
    """What a look found, by door and source: who went without a call, and who was shut down."""

    went: Counter[tuple[str, str]]
    shut: Counter[tuple[str, str]]


class Porter:
    """`look` runs in a worker thread, one at a time; `knock` and `admit` anywhere."""

    def __init__(
        self, refusals: Refusals, *, wall: Callable[[], int], per_source_max: Callable[[], int]
    ) -> None:
        self._refusals = refusals
        self._wall = wall
        self._per_source_max = per_source_max
        self._doors: dict[int, str] = {}  # by port
        self._lock = threading.Lock()
        self._knocks: Counter[str] = Counter()
        self._admitted: set[Peer] = set()
        self._answered: set[Peer] = set()  # those, and whoever asked what anybody may
        self._answers: Counter[str] = Counter()  # connections, ever, by door
        self._held: dict[int, _Connection | None] = {}  # by inode; None = of no door
        self._shut: set[int] = set()  # of them, shut down and not gone yet
        self._told: Counter[str] = Counter()  # by door, what was counted as refused so far
        self._missing: Counter[str] = Counter()  # by door, so many fewer knocked than there were
        self._strangers = 0
        self._seen = (0, 0)  # knocks and answers, as of the last look

    def watch(self, door: str, port: int) -> None:
        """Connections to this port are this door's."""
        self._doors[port] = door

    def knock(self, door: str) -> None:
        """GRPC accepted a connection."""
        with self._lock:
            self._knocks[door] += 1

    def admit(self, door: str, peer: str) -> None:
        """A call over this connection was admitted; `peer` as gRPC writes it."""
        self.answer(door, peer)
        with self._lock:
            self._admitted.add(peer_of(peer))

    def answer(self, door: str, peer: str) -> None:
        """What anybody may ask was answered: a stranger still, but not refused when it goes."""
        named = peer_of(peer)
        with self._lock:
            if named not in self._answered:
                self._answered.add(named)
                self._answers[door] += 1

    def has_news(self) -> bool:
        """Is there something to look at: a stranger, a knock, or an answer since the last look?"""
        waiting = self._strangers > 0 or self._missing.total() > 0
        changed = waiting or self._seen != (self._knocks.total(), self._answers.total())
        return changed and _DESCRIPTORS.is_dir()

    def tell(self, sight: Sight) -> None:
        """Count and log what a look found; on the event loop."""
        for found, refusal in ((sight.went, Refusal.NO_CALL), (sight.shut, Refusal.SOURCE_FULL)):
            for (door, source), times in found.most_common():
                self._refusals.note(door, refusal, who=source, times=times)

    def look(self) -> Sight:
        """Look at every connection once, and shut down what is too much.

        What is counted before the list and after it errs to one side only: somebody is missed, and
        found by the next look.
        """
        with self._lock:
            knocks, known = self._knocks.copy(), self._answered.copy()
        before, self._held = self._held, self._list()
        with self._lock:
            answered, answers = self._answered.copy(), self._answers.copy()
            admitted = self._admitted.copy()
        gone = [
            one
            for inode, one in before.items()
            if inode not in self._held and inode not in self._shut and one is not None
        ]
        self._forget(known)
        strangers = {
            inode: one
            for inode, one in self._held.items()
            if one is not None and one.peer not in admitted and inode not in self._shut
        }
        shut = [one for one in self._shut_surplus(strangers) if one.peer not in answered]
        self._strangers, self._seen = len(strangers), (knocks.total(), answers.total())
        waiting = Counter(one.door for one in strangers.values() if one.peer not in answered)
        refused = self._not_told(knocks, answers + waiting)
        sight = Sight(
            went=_by_source(one for one in gone if one.peer not in answered),
            shut=_by_source(shut),
        )
        for door, times in (refused - _by_door(sight.went) - _by_door(sight.shut)).items():
            sight.went[door, UNSEEN] += times
        self._told += _by_door(sight.went) + _by_door(sight.shut)
        return sight

    def _not_told(self, knocks: Counter[str], good: Counter[str]) -> Counter[str]:
        """How many more knocked than are known to be good, or were told of as refused.

        A call may be answered after its connection went and was told of. A look may miss the knock of
        somebody whom it sees; the next one does not. So what is missing twice is taken off what was told.
        """
        more = Counter(knocks)
        more.subtract(good + self._told)
        missing = Counter({door: -times for door, times in more.items() if times < 0})
        self._told -= missing & self._missing
        self._missing = missing
        return +more

    def _list(self) -> dict[int, _Connection | None]:
        """Every socket of this process, by inode."""
        held: dict[int, _Connection | None] = {}
        for inode, descriptor in _sockets():
            with suppress(OSError):  # it is gone meanwhile
                before = self._held
                held[inode] = before[inode] if inode in before else self._read(descriptor)
        return held

    def _read(self, descriptor: int) -> _Connection | None:
        """What a socket of ours connects; None = nothing, or nothing of a door."""
        sock = socket.socket(fileno=descriptor)
        try:
            if sock.family not in {socket.AF_INET, socket.AF_INET6}:
                return None
            door = self._doors.get(sock.getsockname()[1])
            if door is None or sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                return None
            address, port = sock.getpeername()[:2]
            return _Connection(door, (plain(address), port), self._wall())
        finally:
            sock.detach()  # gRPC's it is, and gRPC closes it

    def _forget(self, known: set[Peer]) -> None:
        """Who was answered and is gone, and whom we shut down and is gone."""
        self._shut &= self._held.keys()
        peers = {one.peer for one in self._held.values() if one is not None}
        with self._lock:
            self._answered -= known - peers
            self._admitted -= known - peers

    def _shut_surplus(self, strangers: dict[int, _Connection]) -> list[_Connection]:
        """Shut down and take out of `strangers` whoever is too much at one door."""
        gone: list[Stranger] = []
        for door in set(self._doors.values()):
            those = (
                Stranger(inode, one.source, one.since_us)
                for inode, one in strangers.items()
                if one.door == door
            )
            gone += surplus(those, per_source_max=self._per_source_max())
        inodes = {one.key for one in gone}
        for inode, descriptor in _sockets() if inodes else ():
            if inode in inodes:
                _shut_down(descriptor, inode)
        self._shut |= inodes
        return [strangers.pop(inode) for inode in inodes]


def _sockets() -> Iterator[tuple[int, int]]:
    """Inode and descriptor of every socket of this process."""
    for name in os.listdir(_DESCRIPTORS):  # noqa: PTH208  # a Path for each costs more than the rest
        with suppress(OSError):  # it is gone meanwhile
            found = os.fstat(int(name))
            if stat.S_ISSOCK(found.st_mode):
                yield found.st_ino, int(name)


def _shut_down(descriptor: int, inode: int) -> None:
    """End a connection: gRPC reads an end of file, and closes it."""
    with suppress(OSError):  # it has ended
        copy = os.dup(descriptor)  # from here on it is one socket, whatever happens to the number
        try:
            if os.fstat(copy).st_ino == inode:
                sock = socket.socket(fileno=copy)
                try:
                    sock.shutdown(socket.SHUT_RDWR)
                finally:
                    sock.detach()
        finally:
            os.close(copy)


def _by_source(connections: Iterable[_Connection]) -> Counter[tuple[str, str]]:
    return Counter((one.door, one.source) for one in connections)


def _by_door(found: Counter[tuple[str, str]]) -> Counter[str]:
    by_door: Counter[str] = Counter()
    for (door, _), times in found.items():
        by_door[door] += times
    return by_door
