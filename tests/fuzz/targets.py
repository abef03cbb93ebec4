"""What can be fuzzed: each parser that reads bytes of strangers, as one function of bytes.

A target returns for whatever bytes it is given. What it raises, a failed assertion included, is a
defect of the parser or of what is said about it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.fuzz import dns, grpc_call, http, http2, icmp, plan, report

CORPUS = Path(__file__).resolve().parents[1] / "corpus" / "fuzz"


@dataclass(frozen=True, slots=True)
class Target:
    """A parser under attack."""

    attempt: Callable[[bytes], None]
    seeds: Callable[[], list[bytes]]
    mutate: Callable[[bytes, int], bytes | None] | None = None  # where bytes alone lead nowhere


TARGETS = {
    "dns": Target(dns.attempt, dns.seeds),
    "grpc": Target(grpc_call.attempt, grpc_call.seeds),
    "icmp": Target(icmp.attempt, icmp.seeds),
    "http": Target(http.attempt, http.seeds),
    "http2": Target(http2.attempt, http2.seeds),
    "plan": Target(plan.attempt, plan.seeds, plan.mutate),
    "report": Target(report.attempt, report.seeds, report.mutate),
}


def corpus(name: str) -> list[Path]:
    """The kept inputs of a target, in the order of their names."""
    return sorted(path for path in (CORPUS / name).glob("*") if path.is_file())
