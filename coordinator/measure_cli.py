"""`soundings measure`: have probes measure a URL once, now, and read their answers as they come."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from coordinator.core.told import HEAD, line, summary
from coordinator.exits import CoordinatorError, Exit
from coordinator.parsing import DEFAULT_DATA, key_value
from coordinator.rpc.operator import NotRunningError, Operator
from proto.gen import admin_pb2

_EPILOG: Final = """example:
  soundings measure https://example.org/ --from 20
  soundings measure https://example.org/ --from 5 --country DE --kinds tcp,http --json

Asks probes that are connected to the running coordinator, in as many networks as can be. The answers
are rows of the table results (service once, trigger request); no verdict is made of them. What a
target is asked is bounded by limits.fleet_per_target_per_minute and by each probe's own limits. With
--json each line is an object: {"asked": …}, then {"row": …} as they come, then {"missing": […]}.

exit codes:
  0 every row came   1 at least one did not come in time   2 usage, or nobody fits
  7 data directory unusable
"""


def main(argv: Sequence[str]) -> int:
    """Ask and print; returns the exit code."""
    args = _parser().parse_args(argv)
    request = admin_pb2.MeasureRequest(
        url=args.url,
        kinds=args.kinds,
        families=args.family,
        probes=args.probes,
        asns=args.asn,
        countries=args.country,
        labels=dict(args.label),
    )
    try:
        return asyncio.run(_measure(args, request))
    except NotRunningError:
        print(
            f"soundings measure: no coordinator runs with --data {args.data}, and only a running one "
            "can ask probes",
            file=sys.stderr,
        )
        return Exit.USAGE
    except CoordinatorError as error:
        for text in str(error).splitlines():
            print(f"soundings measure: {text}", file=sys.stderr)
        return error.code
    except PermissionError as error:
        print(
            f"soundings measure: {error.filename or args.data}: this user may not use it; run the "
            "command as the coordinator's user, or name another --data",
            file=sys.stderr,
        )
        return Exit.DATA_UNUSABLE


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="soundings measure",
        description="Have probes measure a URL once, now.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("url", help='such as "https://example.org/" or "tcp://example.org:5222"')
    parser.add_argument(
        "--from", dest="probes", type=int, default=10, metavar="N", help="how many probes (10)"
    )
    parser.add_argument("--country", action="append", default=[], help="two letters; repeatable")
    parser.add_argument("--asn", action="append", type=_asn, default=[], help="repeatable")
    parser.add_argument("--label", action="append", default=[], type=key_value, metavar="KEY=VALUE")
    parser.add_argument(
        "--kinds", type=_words, default=[], help="of icmp,tcp,http,dns,tls (what the URL allows)"
    )
    parser.add_argument(
        "--family", action="append", type=int, choices=(4, 6), default=[], help="4, 6 or both (4)"
    )
    parser.add_argument("--data", type=Path, default=DEFAULT_DATA, help="data directory")
    parser.add_argument("--json", action="store_true", help="print JSON, a line an answer")
    return parser


def _words(text: str) -> list[str]:
    return text.split(",")


def _asn(text: str) -> int:
    number = text.upper().removeprefix("AS")
    if not (number.isdecimal() and 1 <= int(number) <= 4_294_967_295):
        raise argparse.ArgumentTypeError(f"{text!r} is not an AS number")
    return int(number)


async def _measure(args: argparse.Namespace, request: admin_pb2.MeasureRequest) -> int:
    rows: list[dict[str, Any]] = []
    missing: list[str] = []
    async for reply in Operator(args.data / "admin.sock").measure(request):
        match reply.WhichOneof("message"):
            case "asked":
                _say_asked(args, reply.asked)
            case "row":
                rows.append(json.loads(reply.row))
                print(json.dumps({"row": rows[-1]}) if args.json else line(rows[-1]), flush=True)
            case "missing":
                missing = list(reply.missing.probes)
    if args.json:
        print(json.dumps({"missing": missing}))
    else:
        _say_end(rows, missing)
    return Exit.BAD_ANSWER if missing else Exit.GOOD


def _say_asked(args: argparse.Namespace, asked: admin_pb2.MeasureAsked) -> None:
    if args.json:
        facts = {"probes": asked.probes, "checks": asked.checks, "component": asked.component}
        print(json.dumps({"asked": facts}), flush=True)
        return
    probes = f"{asked.probes} probe{'s' if asked.probes > 1 else ''}"
    fewer = f" (only so many fit; {args.probes} were wanted)" if asked.probes < args.probes else ""
    print(f"asked {probes}{fewer}; rows: service once, component {asked.component}\n\n{HEAD}")


def _say_end(rows: list[dict[str, Any]], missing: list[str]) -> None:
    print()
    for text in summary(rows):
        print(text)
    if missing:
        print(f"rows are missing of {', '.join(missing)}")
