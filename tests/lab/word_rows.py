"""The table: every failure word, the real fault that drives it, and who else sees it.

One scene a fault, one row a kind of check and family. `UNDRIVEN` has the words that no fault here
can make, each with the reason.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import Any, Final

from deploy.lab import service_faults
from deploy.lab.certificates import CertificateShop, Flavour
from deploy.lab.faults.network import reject
from deploy.lab.rules import Action
from proto.model import Failure, Kind, Operation
from tests.fakes.broken_servers import Ending, Script, response
from tests.lab.word_bench import TARGET, Fault, Row, Says, Sender, server_context

TRANSIT, ACCESS, BORDER = "tr1", "ac01", "an-a"
ZONE = "anchor.test"
LIE = "203.0.113.66"  # an address that nobody here has

Icmp = Mapping[int, tuple[int, int]]
NETWORK_UNREACHABLE: Final[Icmp] = {4: (3, 0), 6: (1, 0)}
HOST_UNREACHABLE: Final[Icmp] = {4: (3, 1), 6: (1, 3)}
PORT_UNREACHABLE: Final[Icmp] = {4: (3, 3), 6: (1, 4)}
ADMIN_PROHIBITED: Final[Icmp] = {4: (3, 13), 6: (1, 1)}
TIME_EXCEEDED: Final[Icmp] = {4: (11, 0), 6: (3, 0)}

# Ports on the target, by what its server does wrong.
EXPIRED, NOT_YET, WRONG_NAME, SELF_SIGNED, UNTRUSTED = 8001, 8002, 8003, 8004, 8005
ALERTS, NO_TLS, HANGS_UP, RESETS_HELLO, HUNG = 8010, 8011, 8012, 8013, 8014
BUSY, OTHER_TEXT, NO_HTTP, HALF_BODY, NO_HEAD = 8020, 8021, 8022, 8023, 8024
IN_CIRCLES, TO_FTP, RESETS_BODY, HUNG_HEAD, BAD_CHUNK, CLOSED = 8025, 8026, 8027, 8028, 8029, 8099


def scripts(shop: CertificateShop) -> dict[int, Script]:
    """The target's servers: a good one at 443, the others each broken in its way."""
    good = response("200 OK", body=b"good")
    half = response("200 OK", "Content-Length: 100", body=b"half")
    flavours = {
        443: Flavour.GOOD,
        EXPIRED: Flavour.EXPIRED,
        NOT_YET: Flavour.NOT_YET_VALID,
        WRONG_NAME: Flavour.WRONG_NAME,
        SELF_SIGNED: Flavour.SELF_SIGNED,
        UNTRUSTED: Flavour.UNTRUSTED,
    }
    return {
        **{
            port: Script(says=good, context=server_context(shop, flavour))
            for port, flavour in flavours.items()
        },
        ALERTS: Script(context=ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)),  # no certificate at all
        NO_TLS: Script(says=response("400 Bad Request")),
        HANGS_UP: Script(),
        RESETS_HELLO: Script(ending=Ending.RESET),
        HUNG: Script(ending=Ending.SILENCE),
        BUSY: Script(says=response("503 Service Unavailable")),
        OTHER_TEXT: Script(says=response("200 OK", body=b"parked")),
        NO_HTTP: Script(says=b"SSH-2.0-somebody\r\n"),
        HALF_BODY: Script(says=half),
        NO_HEAD: Script(),
        IN_CIRCLES: Script(says=response("302 Found", "Location: /")),
        TO_FTP: Script(says=response("302 Found", "Location: ftp://anchor.test/")),
        RESETS_BODY: Script(says=half, ending=Ending.RESET),
        HUNG_HEAD: Script(says=b"HTTP/1.1 200", ending=Ending.SILENCE),
        BAD_CHUNK: Script(says=response("200 OK", "Transfer-Encoding: chunked", body=b"zz\r\n")),
    }


# --- How rows are written -------------------------------------------------------------------------


def rows(
    word: Failure,
    operation: Operation,
    kind: Kind,
    *tools: Says,
    families: tuple[int, ...] = (4, 6),
    error: tuple[Icmp, Sender] | None = None,
    seconds: tuple[float, float] = (0.0, 2.4),
    **fields: Any,
) -> tuple[Row, ...]:
    """A row for each family; `error` is the ICMP error and who sends it."""
    return tuple(
        Row(
            word=word,
            operation=operation,
            kind=kind,
            family=family,
            icmp=None if error is None else error[0][family],
            router=None if error is None else error[1],
            seconds=seconds,
            fields=fields,
            tools=tools,
        )
        for family in families
    )


def network_rows(
    word: Failure, connect: tuple[Says, ...], echo: tuple[Says, ...], **more: Any
) -> tuple[Row, ...]:
    """The word at a connection and at an echo."""
    return (
        *rows(word, Operation.CONNECT, Kind.TCP, *connect, **more),
        *rows(word, Operation.ECHO, Kind.ICMP, *echo, **more),
    )


def rejecting(at: str, kind: Action) -> Fault:
    """This router answers for the target."""
    return lambda b: reject(b.network, at=at, toward=(TARGET,), kind=kind, verdict_class="edge")


def lying(mode: str, argument: str = "") -> Fault:
    """The authoritative servers do this to the zone."""
    return lambda b: service_faults.names(b.services, mode=mode, zone=ZONE, argument=argument)
