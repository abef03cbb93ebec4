"""`/metrics` as Prometheus reads it: by its own parser, by its conventions, and as documented."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import aiohttp
import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from coordinator.web import metrics
from tests.fakes.pages import open_busy_page

PAGE = Path(__file__).resolve().parents[3] / "docs" / "metrics.md"
UNITS = ("seconds", "bytes", "ratio")
"""Base units; what is counted has none."""
SHORTENED = re.compile(r"_(ms|us|ns|s|min|minutes|hours|mib|kib|mb|kb|percent)(_|$)")
RESERVED = ("_total", "_count", "_sum", "_bucket", "_created", "_info")


@pytest.fixture(scope="module")
def families(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Metric]:
    """Every family of a coordinator that has received, refused and judged."""

    async def scenario() -> str:
        path = tmp_path_factory.mktemp("page")
        async with (
            open_busy_page(path) as (url, _),
            aiohttp.ClientSession() as session,
            session.get(f"{url}/metrics") as reply,
        ):
            assert reply.headers["Content-Type"] == metrics.CONTENT_TYPE
            return await reply.text()

    found = list(text_string_to_metric_families(asyncio.run(scenario())))
    assert len({family.name for family in found}) == len(found) > 20
    return {_name(family): family for family in found}


def _name(family: Metric) -> str:
    """As it is written; the parser takes `_total` off a counter."""
    return f"{family.name}_total" if family.type == "counter" else str(family.name)


def test_every_family_says_what_it_is(families: dict[str, Metric]) -> None:
    """HELP is a sentence, TYPE is a type, and every sample belongs to its family and has a value."""
    for name, family in families.items():
        assert re.fullmatch(r"[A-Z1].*\.", family.documentation), name
        assert family.type in {"counter", "gauge"}, name
        assert {sample.name for sample in family.samples} == {name}, name
        labels = [tuple(sorted(sample.labels.items())) for sample in family.samples]
        assert len(set(labels)) == len(labels) > 0, name


def test_names_follow_the_conventions(families: dict[str, Metric]) -> None:
    """One prefix, snake case, base units at the end, `_total` for what only grows and nothing else."""
    for name, family in families.items():
        assert re.fullmatch(r"soundings(_[a-z0-9]+)+", name)
        assert not SHORTENED.search(name), f"{name}: write the base unit out"
        assert name.endswith("_total") == (family.type == "counter"), name
        stem = name.removesuffix("_total")
        assert not stem.endswith(RESERVED), name
        assert all(stem.endswith(unit) for unit in UNITS if f"_{unit}" in stem), name
        assert all(label.islower() for sample in family.samples for label in sample.labels), name


def test_the_page_lists_every_family(families: dict[str, Metric]) -> None:
    """docs/metrics.md has the name, type and meaning of each, and no other."""
    rows = re.findall(
        r"^\| `(\w+)` \| (\w+) \| ([^|]*) \|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE
    )
    said = {name: (kind, meaning) for name, kind, meaning in rows}
    assert said == {name: (f.type, f.documentation) for name, f in families.items()}


def test_numbers_keep_their_digits() -> None:
    """A counter of billions goes up by one, and a fraction is what it was."""
    text = metrics.render(
        [
            metrics.single("a_total", "A.", 12_345_678_901, counter=True),
            metrics.single("b", "B.", 1_795_000_000.123456),
        ]
    )
    (a, b) = text_string_to_metric_families(text)
    assert (a.samples[0].value, b.samples[0].value) == (12_345_678_901, 1_795_000_000.123456)


def test_any_text_survives_as_a_label() -> None:
    """Quotes, backslashes and line ends come out of the parser as they went in."""
    value = 'a "b" \\ c\nd'
    family = metrics.Metric(name="x", meaning="X.", type="gauge", samples={(("why", value),): 1})
    (read,) = text_string_to_metric_families(metrics.render([family]))
    assert read.samples[0].labels == {"why": value}
