"""The table: every failure word, the real fault that drives it, and who else sees it.

One scene a fault, one row a kind of check and family. What is not here is in `UNDRIVEN`, with the
reason.
"""

from __future__ import annotations

from typing import Final

from deploy.lab.faults.network import blackhole, loop, reset
from deploy.lab.rules import Action, Stage
from proto.model import Failure, Kind, Operation
from tests.lab import word_local
from tests.lab.word_bench import TARGET, Scene
from tests.lab.word_rows import (
    ACCESS,
    ADMIN_PROHIBITED,
    ALERTS,
    BAD_CHUNK,
    BORDER,
    BUSY,
    CLOSED,
    EXPIRED,
    HALF_BODY,
    HANGS_UP,
    HOST_UNREACHABLE,
    HUNG,
    HUNG_HEAD,
    IN_CIRCLES,
    LIE,
    NETWORK_UNREACHABLE,
    NO_HEAD,
    NO_HTTP,
    NO_TLS,
    NOT_YET,
    OTHER_TEXT,
    PORT_UNREACHABLE,
    RESETS_BODY,
    RESETS_HELLO,
    SELF_SIGNED,
    TIME_EXCEEDED,
    TO_FTP,
    TRANSIT,
    UNTRUSTED,
    WRONG_NAME,
    lying,
    network_rows,
    rejecting,
    rows,
)
from tests.lab.word_tools import curl, dig, fping, mtr, openssl, ping

HOP, REPLY, TLS, CONNECT, RESOLVE, ECHO = (
    Operation.HOP,
    Operation.REPLY,
    Operation.TLS,
    Operation.CONNECT,
    Operation.RESOLVE,
    Operation.ECHO,
)
WAITS = (0.5, 2.2)  # a check that is given 0.6 s and hears nothing

#: mtr that meets one router again and again.
ROUND_AND_ROUND = r"2\.\|-- {transit} (?s:.*)4\.\|-- {transit} "

#: Words without a row of the table, and why.
UNDRIVEN: Final = {
    Failure.LOCAL_OVERLOAD: "takes hundreds of rows at once: test_words has it by itself",
}

NETWORK: Final = {
    "swallowed": Scene(
        fault=lambda b: blackhole(
            b.network, at=TRANSIT, toward=(TARGET,), verdict_class="upstream"
        ),
        rows=(
            *network_rows(
                Failure.TIMEOUT,
                (curl(28, "timed out"),),
                (fping(), mtr({4: r"2\.\|-- {transit} ", 6: r"2\.\|-- {transit} "})),
                seconds=WAITS,
                timeout_s=0.6,
            ),
        ),
    ),
    "closed-port": Scene(
        round_trips=1.0,
        rows=rows(Failure.REFUSED, CONNECT, Kind.TCP, curl(7, "Connection refused"), port=CLOSED),
    ),
    "no-name-server": Scene(
        round_trips=1.0,
        rows=rows(
            Failure.REFUSED,
            RESOLVE,
            Kind.DNS,
            dig("connection refused", exit_code=9),
            error=(PORT_UNREACHABLE, TARGET),
            server=TARGET,
        ),
    ),
    "reset-to-syn": Scene(
        fault=lambda b: reset(b.network, at=ACCESS, toward=(TARGET,), verdict_class="interference"),
        rows=rows(Failure.REFUSED, CONNECT, Kind.TCP, curl(7, "Connection refused")),
    ),
    "rejected": Scene(
        round_trips=0.5,
        fault=rejecting(BORDER, Action.PORT_UNREACHABLE),
        rows=network_rows(
            Failure.REJECTED,
            (curl(7, "Connection refused"),),
            (
                ping(
                    {
                        4: "{router}.* Destination Port Unreachable",
                        6: "{router}.*: Port unreachable",
                    }
                ),
            ),
            error=(PORT_UNREACHABLE, BORDER),
        ),
    ),
    "rejected-by-the-target": Scene(
        round_trips=1.0,
        fault=rejecting(TARGET, Action.PORT_UNREACHABLE),
        rows=rows(
            Failure.REJECTED,
            CONNECT,
            Kind.TCP,
            curl(7, "Connection refused"),
            error=(PORT_UNREACHABLE, TARGET),
        ),
    ),
    "network-unreachable": Scene(
        round_trips=0.5,
        fault=rejecting(TRANSIT, Action.NET_UNREACHABLE),
        rows=network_rows(
            Failure.NET_UNREACHABLE,
            (curl(7, "Network is unreachable"),),
            (ping({4: "{router}.* Destination Net Unreachable", 6: "{router}.*: No route"}),),
            error=(NETWORK_UNREACHABLE, TRANSIT),
        ),
    ),
    "host-unreachable": Scene(
        round_trips=0.5,
        fault=rejecting(BORDER, Action.HOST_UNREACHABLE),
        rows=network_rows(
            Failure.HOST_UNREACHABLE,
            (curl(7, "No route to host"),),
            (
                ping(
                    {
                        4: "{router}.* Destination Host Unreachable",
                        6: "{router}.*: Address unreachable",
                    }
                ),
            ),
            error=(HOST_UNREACHABLE, BORDER),
        ),
    ),
    "prohibited": Scene(
        fault=rejecting(ACCESS, Action.ADMIN_PROHIBITED),
        rows=network_rows(
            Failure.PROHIBITED,
            (curl(7, {4: "No route to host", 6: "Permission denied"}),),
            (
                ping(
                    {4: "{router}.* Packet filtered", 6: "{router}.*: Administratively prohibited"}
                ),
            ),
            error=(ADMIN_PROHIBITED, ACCESS),
        ),
    ),
    "routing-loop": Scene(
        round_trips=1.0,
        fault=lambda b: loop(
            b.network, between=(ACCESS, TRANSIT), toward=(TARGET,), verdict_class="upstream"
        ),
        rows=(
            *network_rows(
                Failure.TTL_EXCEEDED,
                (curl(7, "No route to host"), mtr(ROUND_AND_ROUND)),
                (ping({4: "{router}.* Time to live exceeded", 6: "{router}.*: Hop limit"}),),
                error=(TIME_EXCEEDED, TRANSIT),
            ),
        ),
    ),
    # Over IPv6 a router has another name each way: the ring is known one hop later.
    "routing-loop-traced": Scene(
        fault=lambda b: loop(
            b.network, between=(ACCESS, TRANSIT), toward=(TARGET,), verdict_class="upstream"
        ),
        rows=(
            *rows(
                *(Failure.LOOP, HOP, Kind.TRACE, mtr(ROUND_AND_ROUND)),
                families=(4,),
                error=(TIME_EXCEEDED, TRANSIT),
            ),
            *rows(
                *(Failure.LOOP, HOP, Kind.TRACE, mtr(ROUND_AND_ROUND)),
                families=(6,),
                error=(TIME_EXCEEDED, (ACCESS, TRANSIT)),
            ),
            *rows(
                *(Failure.LOOP, HOP, Kind.TRACE),
                families=(4,),
                error=(TIME_EXCEEDED, TRANSIT),
                port=443,
            ),
            *rows(
                *(Failure.LOOP, HOP, Kind.TRACE),
                families=(6,),
                error=(TIME_EXCEEDED, (ACCESS, TRANSIT)),
                port=443,
            ),
        ),
    ),
    "reset-at-hello": Scene(
        round_trips=1.0,
        fault=lambda b: reset(
            b.network,
            at=ACCESS,
            toward=(TARGET,),
            verdict_class="interference",
            stage=Stage.PAYLOAD,
        ),
        rows=rows(Failure.RESET, TLS, Kind.TLS, curl(35, "reset by peer")),
    ),
}

NAMES: Final = {
    "nxdomain": Scene(
        round_trips=1.0,
        fault=lying("nxdomain"),
        rows=rows(Failure.DNS_NXDOMAIN, RESOLVE, Kind.DNS, dig("status: NXDOMAIN")),
    ),
    "nodata": Scene(
        round_trips=1.0,
        fault=lying("empty"),
        rows=rows(Failure.DNS_NODATA, RESOLVE, Kind.DNS, dig("status: NOERROR(?s:.*)ANSWER: 0,")),
    ),
    "servfail": Scene(
        round_trips=1.0,
        fault=lying("servfail"),
        rows=rows(Failure.DNS_SERVFAIL, RESOLVE, Kind.DNS, dig("status: SERVFAIL")),
    ),
    "refused-by-name-server": Scene(
        round_trips=1.0,
        fault=lying("refused"),
        rows=rows(Failure.DNS_REFUSED, RESOLVE, Kind.DNS, dig("status: REFUSED")),
    ),
    "malformed": Scene(
        round_trips=1.0,
        fault=lying("malformed"),
        rows=rows(Failure.DNS_MALFORMED, RESOLVE, Kind.DNS, dig("malformed message packet")),
    ),
    "silent-name-server": Scene(
        fault=lying("drop"),
        rows=rows(
            Failure.DNS_TIMEOUT,
            RESOLVE,
            Kind.DNS,
            dig("no servers could be reached", exit_code=9),
            seconds=WAITS,
            timeout_s=0.6,
        ),
    ),
    "forged-answer": Scene(
        round_trips=1.0,
        fault=lying("wrong", LIE),
        rows=rows(
            Failure.DNS_MISMATCH,
            RESOLVE,
            Kind.DNS,
            dig(rf"IN\s+A\s+{LIE}"),
            expect_answers=("198.18.0.0/15",),
        ),
    ),
    "unknown-rcode": Scene(
        round_trips=1.0,
        fault=lying("yxdomain"),
        rows=rows(Failure.UNKNOWN, RESOLVE, Kind.DNS, dig("status: YXDOMAIN")),
    ),
}


SERVERS: Final = {
    "tls": Scene(
        round_trips=2.0,
        rows=(
            *rows(
                *(Failure.TLS_EXPIRED, TLS, Kind.TLS, curl(60, "certificate has expired")),
                openssl("Verification error: certificate has expired"),
                port=EXPIRED,
            ),
            *rows(
                *(Failure.TLS_NOT_YET_VALID, TLS, Kind.TLS, curl(60, "is not yet valid")),
                openssl("Verification error: certificate is not yet valid"),
                port=NOT_YET,
            ),
            *rows(
                *(Failure.TLS_NAME_MISMATCH, TLS, Kind.TLS, curl(60, "no alternative certificate")),
                openssl("Verification error: hostname mismatch"),
                port=WRONG_NAME,
            ),
            *rows(
                *(Failure.TLS_UNTRUSTED, TLS, Kind.TLS, curl(60, "self-signed certificate")),
                openssl("Verification error: self-signed certificate"),
                port=SELF_SIGNED,
            ),
            *rows(
                *(Failure.TLS_UNTRUSTED, TLS, Kind.HTTP, curl(60, "self-signed certificate in")),
                openssl("Verification error: self-signed certificate in certificate chain"),
                port=UNTRUSTED,
                use_tls=True,
            ),
            *rows(
                *(Failure.TLS_ALERT, TLS, Kind.TLS, curl(35, "alert handshake failure")),
                openssl("SSL alert number 40", exit_code=1),
                port=ALERTS,
            ),
            *rows(
                *(Failure.TLS_PROTOCOL, TLS, Kind.TLS, curl(35, "wrong version number")),
                openssl("wrong version number", exit_code=1),
                port=NO_TLS,
            ),
            *rows(
                *(Failure.TLS_PROTOCOL, TLS, Kind.TLS, curl(35, "SSL_ERROR_SYSCALL")),
                openssl("unexpected eof", exit_code=1),
                port=HANGS_UP,
            ),
            *rows(
                *(Failure.RESET, TLS, Kind.TLS, curl(35, "reset by peer")),
                openssl("errno=104", exit_code=1),
                port=RESETS_HELLO,
            ),
            *rows(
                *(Failure.TIMEOUT, TLS, Kind.TLS, curl(28, "timed out|SSL connection timeout")),
                port=HUNG,
                timeout_s=0.6,
                seconds=WAITS,
            ),
        ),
    ),
    "http": Scene(
        round_trips=2.0,
        rows=(
            *rows(Failure.HTTP_STATUS, REPLY, Kind.HTTP, curl(22, "error: 503", "-f"), port=BUSY),
            *rows(
                *(Failure.HTTP_CONTENT, REPLY, Kind.HTTP, curl(0, "parked")),
                port=OTHER_TEXT,
                expect_body="good",
            ),
            *rows(Failure.HTTP_MALFORMED, REPLY, Kind.HTTP, curl(1, "HTTP/0.9"), port=NO_HTTP),
            *rows(
                *(Failure.HTTP_MALFORMED, REPLY, Kind.HTTP, curl(56, "chunked-encoding")),
                port=BAD_CHUNK,
            ),
            *rows(
                *(Failure.HTTP_TRUNCATED, REPLY, Kind.HTTP, curl(18, "96 bytes remaining")),
                port=HALF_BODY,
            ),
            *rows(Failure.HTTP_TRUNCATED, REPLY, Kind.HTTP, curl(52, "Empty reply"), port=NO_HEAD),
            *rows(
                *(Failure.HTTP_REDIRECT, REPLY, Kind.HTTP),
                curl(47, "Maximum", "-L", "--max-redirs", "1"),
                port=IN_CIRCLES,
                follow_redirects=1,
            ),
            *rows(
                *(Failure.HTTP_REDIRECT, REPLY, Kind.HTTP),
                curl(1, "[Pp]rotocol .?ftp.? ", "-L", "--proto-redir", "=http,https"),
                port=TO_FTP,
                follow_redirects=1,
            ),
            *rows(Failure.RESET, REPLY, Kind.HTTP, curl(56, "reset by peer"), port=RESETS_BODY),
            *rows(
                *(Failure.TIMEOUT, REPLY, Kind.HTTP, curl(28, "timed out")),
                port=HUNG_HEAD,
                timeout_s=0.6,
                seconds=WAITS,
            ),
        ),
    ),
}

SCENES: Final[dict[str, Scene]] = {**NETWORK, **NAMES, **SERVERS, **word_local.LOCAL}
