"""`soundings probe check`: run one check from here, now, and show how it was understood.

Nothing is sent to a coordinator, and nothing needs one. The same code runs the check as in the
probe; what the page shows is what a row would say.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import trio

from probe.app import version
from probe.core.address import parse_networks
from probe.core.endpoint import parse_endpoint
from probe.core.explain import Explained, as_data, exit_code, render
from probe.core.explaintarget import Asked, check_of
from probe.core.limits import BODY_CAP_MAX, HOPS_MAX, PACKETS_MAX
from probe.core.outcome import Outcome
from probe.exits import Exit
from probe.io.clock import wall_us
from probe.io.state import DEFAULT_STATE
from probe.settings import Settings, load_settings
from probe.toolbox import Toolbox, ToolboxSettings, open_toolbox, run_check
from proto.model import Check, Kind

EXAMPLES: Final = """examples:
  soundings probe check https://example.org/live --explain
  soundings probe check https://example.org/ --http2 --expect-body '"live":*true'
  soundings probe check tls://example.org --neutral-sni example.com
  soundings probe check tcp://example.org:443 --json
  soundings probe check icmp://example.org --count 5
  soundings probe check https://example.org/ --trace --explain
  soundings probe check 'dns://example.org?type=AAAA&server=192.0.2.53'
  soundings probe check example.org --kind dns --authoritative --count 4 --explain
  soundings probe check https://10.0.0.7/ --allow-network 10.0.0.0/8 --ca-file ca.pem

exit codes here: 0 measured and good, 1 measured and failed, 2 the target or an option makes no
sense, 3 bad configuration, 9 not run: a permission or an address family is missing, or the address
policy bars the target.

"""
COUNT_MAX: Final = 100
"""More than this is a load, not a look."""

PAUSE_S: Final = 1.0
"""Between repeated checks: what politeness to a stranger's server asks for."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `soundings probe check`."""
    parser.add_argument("target", metavar="TARGET", help="URL, or a bare name for icmp")
    parser.add_argument(
        "--explain", action="store_true", help="show every step, the policy and the config"
    )
    parser.add_argument("--json", action="store_true", help="print everything as JSON")
    _add_question(parser)
    add_vantage_arguments(parser)


def _add_question(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("what to ask").add_argument
    add("--kind", choices=[kind.value for kind in Kind], help="instead of what the scheme says")
    add("--trace", action="store_true", help="the way to the target's port, or by echo requests")
    add("--port", type=int, metavar="P", help="instead of the URL's or the scheme's usual one")
    add("--max-hops", type=int, default=30, metavar="N", help="of a trace (default 30)")
    add("--family", type=int, choices=(4, 6), help="address family (default 4)")
    add("--timeout-s", type=float, default=5.0, metavar="S", help="for the whole check (default 5)")
    add("--count", type=int, default=None, metavar="N", help="packets, or repetitions")
    add("--method", choices=("GET", "HEAD"), default="GET", help="of an http check")
    add("--expect-status", type=int, action="append", metavar="N", help="good statuses (200)")
    add("--expect-body", metavar="TEXT", help="text in a good body; * stands for any text")
    add("--expect-sha256", metavar="HEX", help="how the SHA-256 of a good body begins")
    add("--body-cap-bytes", type=int, metavar="N", help="read no more of a body (default 65536)")
    add("--http2", action="store_true", help="for https: offer HTTP/2, then HTTP/1.1 (default 1.1)")
    add("--sni", metavar="NAME", help="say and verify this name instead of the target's, Host too")
    add("--neutral-sni", metavar="NAME", help="say this name, and judge no certificate or status")
    add("--expect-answer", action="append", default=[], metavar="NETWORK", help="for dns")
    add("--qtype", metavar="TYPE", help="for dns: A, AAAA, NS, CNAME, SOA or TXT (default A)")
    add("--server", metavar="ADDRESS", help="for dns: ask this server, not the resolvers")
    add(
        "--authoritative",
        action="store_true",
        help="for dns: ask a server of the zone itself; another one each time with --count",
    )
    add("--follow-redirects", type=int, default=0, metavar="N", help="hops allowed (default 0)")
    add("--pinned", metavar="ADDRESS", help="contact this address instead of resolving the name")


def add_vantage_arguments(
    parser: argparse.ArgumentParser, *, usual: str = f"{DEFAULT_STATE}/probe.toml"
) -> None:
    """The options that stand for this vantage point, on top of its probe.toml."""
    add = parser.add_argument_group("from where").add_argument
    add(
        "--resolver",
        action="append",
        default=[],
        metavar="ADDRESS",
        help="ask this server instead of those of probe.toml or /etc/resolv.conf",
    )
    add(
        "--allow-network",
        action="append",
        default=[],
        metavar="NETWORK",
        help="may be contacted, besides public addresses and those that probe.toml allows",
    )
    add("--ca-file", metavar="FILE", help="trust these authorities instead of the system's")
    add(
        "--config",
        type=Path,
        metavar="FILE",
        help=f"probe.toml (default {usual}, if it can be read)",
    )


def run(args: argparse.Namespace) -> int:
    """`soundings probe check` in a loop of its own. Raises ConfigError."""
    return trio.run(explain, args)


async def explain(args: argparse.Namespace) -> int:
    """Run what the command line asks for, print it, and say how it went as an exit code."""
    try:
        check, repetitions = _check(args)
        settings = toolbox_settings(args)
    except ValueError as error:
        print(f"soundings probe check: {error}", file=sys.stderr)
        return Exit.USAGE
    async with open_toolbox(settings, wall=wall_us()) as box:
        outcomes = await _repeat(check, box, repetitions)
        pages = [_explained(check, outcome, box) for outcome in outcomes]
    code = exit_code(outcomes)
    if args.json:
        data: dict[str, Any] = {"exit_code": code, "runs": [as_data(page) for page in pages]}
        print(json.dumps(data, indent=2))
    else:
        print("\n".join(render(page, with_steps=args.explain) for page in pages), end="")
    return code


async def _repeat(check: Check, box: Toolbox, repetitions: int) -> list[Outcome]:
    """As in slots that follow one another: what is taken in turn moves on each time."""
    first_us, interval_us = box.wall(), round(check.interval_s * 1e6)
    outcomes: list[Outcome] = []
    for number in range(repetitions):
        if number:
            await trio.sleep(PAUSE_S)
        slot = replace(box, slot_at_us=first_us + number * interval_us)
        outcomes.append(await run_check(check, slot))
    return outcomes


def vantage_settings(args: argparse.Namespace) -> Settings:
    """What probe.toml says. Raises ConfigError when it cannot be used."""
    if args.config is not None:
        return load_settings(args.config, required=True)
    usual: Path = getattr(args, "state", DEFAULT_STATE) / "probe.toml"
    # Who looks from here need not be the probe's own user.
    return load_settings(usual, required=False) if os.access(usual, os.R_OK) else Settings()


def toolbox_settings(args: argparse.Namespace) -> ToolboxSettings:
    """What probe.toml says, and the command line on top of it.

    Raises:
        ConfigError: probe.toml cannot be used.
        ValueError: an option of the command line cannot; the text says how to write it.
    """
    settings = vantage_settings(args)
    parse_networks(args.allow_network)
    for server in args.resolver:
        parse_endpoint(server)
    return ToolboxSettings(
        resolvers=tuple(args.resolver) or settings.resolvers,
        allow_networks=(*settings.allow_networks, *args.allow_network),
        ca_file=args.ca_file or settings.ca_file,
        user_agent=f"soundings-probe/{version()}",
        source_address=settings.source_address,
        tx_stamps=settings.tx_stamps,
    )


def _check(args: argparse.Namespace) -> tuple[Check, int]:
    """The check, and how often to run it. Raises ValueError with the fix."""
    if args.timeout_s <= 0:
        raise ValueError(f"--timeout-s is {args.timeout_s}; it must be above 0")
    if args.body_cap_bytes is not None and not 0 <= args.body_cap_bytes <= BODY_CAP_MAX:
        raise ValueError(
            f"--body-cap-bytes is {args.body_cap_bytes}; it must lie between 0 and {BODY_CAP_MAX}"
        )
    if args.count is not None and not 1 <= args.count <= COUNT_MAX:
        raise ValueError(f"--count is {args.count}; it must lie between 1 and {COUNT_MAX}")
    if args.trace and args.kind not in {None, Kind.TRACE.value}:
        raise ValueError(f"--trace and --kind {args.kind} contradict each other; leave one out")
    if not 1 <= args.max_hops <= HOPS_MAX:
        raise ValueError(f"--max-hops is {args.max_hops}; it must lie between 1 and {HOPS_MAX}")
    kind = Kind.TRACE.value if args.trace else args.kind
    asked = Asked(
        target=args.target,
        kind=None if kind is None else Kind(kind),
        port=args.port,
        max_hops=args.max_hops,
        family=args.family,
        timeout_s=args.timeout_s,
        method=args.method,
        expect_status=tuple(args.expect_status or (200,)),
        expect_body=args.expect_body,
        expect_answers=tuple(args.expect_answer),
        follow_redirects=args.follow_redirects,
        pinned=args.pinned,
        qtype=args.qtype,
        server=args.server,
        authoritative=args.authoritative,
        http2=args.http2,
        sni=args.sni,
        neutral_sni=args.neutral_sni,
        expect_sha256=args.expect_sha256,
        body_cap_bytes=args.body_cap_bytes,
    )
    check, count = check_of(asked), args.count or 1
    if check.kind not in {Kind.ICMP, Kind.TRACE}:
        return check, count
    if count > PACKETS_MAX:
        what = "echo requests" if check.kind is Kind.ICMP else "packets to each hop"
        raise ValueError(f"--count is {count}; one run sends at most {PACKETS_MAX} {what}")
    return (check, 1) if args.count is None else (replace(check, packets=count), 1)


def _explained(check: Check, outcome: Outcome, box: Toolbox) -> Explained:
    """The run with the config in force, every value with its origin where it is a default."""
    from probe.io.leaf import read_leaf  # noqa: PLC0415  # a running probe never needs it

    settings = box.settings
    resolvers = ", ".join(str(server) for server in box.resolvers())
    config = (
        ("timeout_s", f"{check.timeout_s:g}"),
        ("resolvers", resolvers if settings.resolvers else f"{resolvers} (/etc/resolv.conf)"),
        ("allow_networks", ", ".join(map(str, box.allowed)) or "none (public addresses only)"),
        ("ca_file", settings.ca_file or "none (the system's authorities)"),
        ("source_address", settings.source_address or "none (the route decides)"),
        ("user_agent", settings.user_agent),
        ("kernel receive stamps", "honest" if box.stamps_warm else "not to be had here"),
    )
    leaves = tuple(read_leaf(certificate) for certificate in outcome.certificates)
    return Explained(
        check=check, outcome=outcome, leaves=leaves, allowed=box.allowed, config=config
    )
