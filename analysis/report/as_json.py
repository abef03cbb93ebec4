"""The same records as JSON, under the contract's names."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from analysis.core.claim import ClaimSheet
from analysis.core.incident import Incident
from analysis.core.verdict import Verdict


def verdicts_json(verdicts: Sequence[Verdict]) -> str:
    """A list, one object per verdict."""
    return _text([one.to_json() for one in verdicts])


def claim_json(sheet: ClaimSheet) -> str:
    """One object with the variants by their code."""
    return _text(sheet.to_json())


def incidents_json(incidents: Sequence[Incident], *, source: str) -> str:
    """A list, one object per incident; `source` says what they were read or made from."""
    return _text([one.to_json() | {"source": source} for one in incidents])


def rows_json(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A list of objects by column."""
    return _text([dict(zip(columns, row, strict=True)) for row in rows])


def _text(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, indent=2, default=str)
