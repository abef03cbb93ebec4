"""A claim as a file that people write: what is claimed, of what, and for when.

claim = "ddos"
service = "x"
component = "spaces"
from = 2026-03-01T12:00:00Z
to = 2026-03-01T12:42:00Z
context = ["announced start at 12:00 (press release)"]
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from analysis.core.claim import Claim
from analysis.core.verdict import stamp
from analysis.replay.errors import BadFileError

KINDS: Final = ("ddos",)
_KEYS: Final = ("claim", "service", "component", "from", "to", "context", "scenario")


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedClaim:
    """A claim with the window that it speaks of; a missing end leaves the choice to the data."""

    claim: Claim
    since: datetime | None
    until: datetime | None
    scenario: str | None = None


def read_claim(path: Path) -> AskedClaim:
    """Parse a claim file.

    Raises:
        BadFileError: with every finding.
    """
    try:
        body = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BadFileError((f"{path}: there is no such file",)) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadFileError((f"{path}: is not TOML: {error}",)) from error
    findings = [
        f"{path}: {key} is not a key of a claim; use {', '.join(_KEYS)}"
        for key in body
        if key not in _KEYS
    ]
    findings += _texts(path, body)
    since, until = (_time(path, body, key, findings) for key in ("from", "to"))
    if findings:
        raise BadFileError(tuple(findings))
    claim = Claim(
        kind=body["claim"],
        service=body["service"],
        component=body.get("component"),
        context=tuple(body.get("context", ())),
    )
    return AskedClaim(claim=claim, since=since, until=until, scenario=body.get("scenario"))


def _texts(path: Path, body: dict[str, Any]) -> list[str]:
    findings = []
    if body.get("claim") not in KINDS:
        findings.append(f"{path}: claim is {body.get('claim')!r}; write one of {', '.join(KINDS)}")
    if not isinstance(body.get("service"), str):
        findings.append(f"{path}: service is {body.get('service')!r}; name the service as text")
    if not isinstance(body.get("component", ""), str):
        findings.append(f"{path}: component is {body['component']!r}; name it as text, or drop it")
    context = body.get("context", [])
    if not isinstance(context, list) or not all(isinstance(one, str) for one in context):
        findings.append(f"{path}: context is {context!r}; write a list of texts")
    return findings


def _time(path: Path, body: dict[str, Any], key: str, findings: list[str]) -> datetime | None:
    value = body.get(key)
    if value is None:
        return None
    try:
        return stamp(value if isinstance(value, str) else value.isoformat())
    except (ValueError, AttributeError):
        findings.append(f"{path}: {key} is {value!r}; write a UTC time: 2026-03-01T12:00:00Z")
        return None
