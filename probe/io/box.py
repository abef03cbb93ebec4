"""What the runners of all checks share: values and open sockets, made once by `open_toolbox`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from probe.core.address import Network, is_inside, parse_address, why_barred
from probe.core.copies import copier
from probe.core.memory import AddressMemory
from probe.core.zone import Delegations
from probe.io.icmp import Pinger
from probe.io.icmpsocket import EchoSocket
from probe.io.reactor import Reactor
from probe.io.resolvers import Resolvers
from probe.io.tlscontext import TlsContext
from probe.io.ways import RouteWatch, own_address
from proto.model import Check

WallClock: TypeAlias = Callable[[], int]
"""Microseconds since 1970-01-01 UTC. Durations never come from it."""


TURN_S: Final = 60.0
"""A check without slots has a turn for each minute: long enough for vantages to run it in the same."""


VERDICTS_MAX: Final = 20_000
"""Addresses whose verdict is remembered: as many as a plan has checks."""


class Verdicts:
    """What the address policy says of each address, while this machine's own addresses stay."""

    __slots__ = ("_allowed", "_known", "_watch")

    def __init__(self, watch: RouteWatch) -> None:
        self._watch = watch
        self._allowed: tuple[Network, ...] = ()
        self._known: dict[str, str | None] = {}

    def of(self, text: str, allowed: tuple[Network, ...]) -> str | None:
        """Why this address must not be contacted, with the fix; None when it may."""
        is_stale = self._watch.has_changed() or allowed is not self._allowed
        if is_stale or len(self._known) > VERDICTS_MAX:
            self._allowed = allowed
            self._known.clear()
        if text in self._known:
            return self._known[text]
        why, is_sure = self._judge(text)
        if is_sure:
            self._known[text] = why
        return why

    def _judge(self, text: str) -> tuple[str | None, bool]:
        """The verdict, and whether it stands: a machine out of sockets does not know its addresses."""
        address = parse_address(text)
        if address is None:
            return f"{text!r} is no address", True
        why = why_barred(address, self._allowed)
        if why is not None or is_inside(address, self._allowed):
            return why, True
        own = own_address(text)
        if own == text:
            return (
                f"{text} is an address of this machine; "
                "add its network to allow_networks if this is meant"
            ), True
        return None, own is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolboxSettings:
    """What the operator of this vantage decides."""

    resolvers: tuple[str, ...] = ()  # "ADDR", "ADDR:PORT" or "[V6]:PORT"; empty = /etc/resolv.conf
    allow_networks: tuple[str, ...] = ()  # what the address policy would refuse, but is meant
    ca_file: str | None = None  # trust these authorities instead of the system's
    user_agent: str = "soundings-probe"
    source_address: str | None = None  # bind here; its family alone is affected
    tx_stamps: bool = False  # have the kernel stamp echo requests as they leave, too


def _freely(_address: str) -> bool:
    """Without an engine there is one check, which a person asked for."""
    return True


@dataclass(frozen=True, slots=True, kw_only=True)
class Toolbox:
    """Open for as long as the probe runs; safe to share between concurrent checks."""

    settings: ToolboxSettings
    wall: WallClock
    allowed: tuple[Network, ...]
    verdicts: Verdicts  # of the address policy
    resolvers: Resolvers
    pingers: dict[int, Pinger]  # by family; one that is missing has its reason in `without_icmp`
    without_icmp: dict[int, str]
    # By family, for traces to take and put back: raw ones, which cannot be opened once the right to
    # is given up. Where datagram sockets open each trace has its own.
    trace_sockets: dict[int, list[EchoSocket]]
    reactor: Reactor  # drives every connection
    stamps_warm: bool  # False: the kernel gives no honest receive stamps here
    families: set[int]  # families with an address here; one once seen stays
    slot_at_us: int | None = None  # of the run this is handed to; None: a person asked, just now
    may_contact: Callable[[str], bool] = _freely  # counts a contact of this address; False: not now
    memory: AddressMemory = field(default_factory=AddressMemory)  # what names led to lately
    delegations: Delegations = field(default_factory=Delegations)  # filled by probe.io.authority
    tls_contexts: dict[str, TlsContext] = field(default_factory=dict)  # filled by probe.io.tls

    def at_slot(self, slot_at_us: int) -> Toolbox:
        """The same box, for a run of the slot at this instant."""
        return _changed(self, slot_at_us=slot_at_us)

    def turn(self, check: Check) -> int:
        """The number of the run's slot, or of its minute, for taking several things in turn.

        Vantages with the same choice before them make the same one in the same slot or minute.
        """
        at_us = self.wall() if self.slot_at_us is None else self.slot_at_us
        return at_us // round((check.interval_s or TURN_S) * 1e6)

    def why_barred(self, text: str) -> str | None:
        """Why this address must not be contacted, with the fix; None when it may.

        The one door: whatever a plan, an answer or a redirect leads to is asked here before a packet
        leaves. An address of this machine is barred like loopback, which is where it leads: what
        listens here, or trusts what comes from here, is not for a coordinator.
        """
        return self.verdicts.of(text, self.allowed)

    def source_for(self, address: str) -> str | None:
        """The address to bind for contacting `address`, if the operator named one of its family."""
        source = self.settings.source_address
        if source is None or (":" in source) != (":" in address):
            return None
        return source

    def receive_drops(self) -> int | None:
        """Packets that the kernel dropped because we read too late; None without ICMP sockets."""
        if not self.pingers:
            return None
        return sum(pinger.receive_drops() for pinger in self.pingers.values())


_changed = copier(Toolbox)
