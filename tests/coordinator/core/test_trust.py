"""Who is to be believed: what no honest probe does is named, and bad luck is not."""

from __future__ import annotations

import tomllib
from dataclasses import asdict, fields, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coordinator.core.canary import (
    GREETING,
    MINUTE_US,
    PER_PROBE_MINUTE_MAX,
    STRANGERS_MINUTE_MAX,
    Allowance,
    body_of,
    hash_of,
)
from coordinator.core.trust import TrustFacts, doubts
from coordinator.core.validation import validate
from proto.model import ConfigError

HONEST = TrustFacts(
    canary_rows=12, canary_unknown=1, anchor_cells=700, anchor_alone=40, anchors_alone=9,
    timed_rows=180, impossible_rows=1, repeated_rows=3, copied_rows=2,
)  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, set()),
        ({"canary_unknown": 3}, {"canary"}),
        ({"canary_copied": 2}, {"canary"}),
        ({"canary_unknown": 3, "canary_rows": 60}, set()),
        ({"anchor_alone": 200}, {"anchors"}),
        ({"anchor_alone": 200, "anchors_alone": 2}, set()),
        ({"anchor_alone": 100}, set()),
        ({"anchor_alone": 20, "anchor_cells": 40}, set()),
        ({"impossible_rows": 3}, {"times"}),
        ({"repeated_rows": 20}, {"repeats"}),
        ({"copied_rows": 20}, {"copies"}),
        ({"copied_rows": 20, "timed_rows": 400}, set()),
    ],
)
def test_a_few_are_chance_and_many_are_not(changes: dict[str, int], words: set[str]) -> None:
    """Each doubt needs a number and a share; each says both in its sentence."""
    facts = replace(HONEST, **changes)
    found = doubts(facts)
    assert set(found) == words
    assert all(any(c.isdigit() for c in sentence) for sentence in found.values())


def test_of_who_measured_nothing_nothing_is_doubted() -> None:
    """No data is no lie."""
    assert doubts(TrustFacts()) == {}
    assert TrustFacts().agreement > 0.95


BAD = ("canary_unknown", "canary_copied", "anchor_alone", "impossible_rows", "repeated_rows",
       "copied_rows")  # fmt: skip


@settings(deadline=None)
@given(
    st.fixed_dictionaries({f.name: st.integers(0, 300) for f in fields(TrustFacts)}),
    st.sampled_from(BAD),
    st.integers(1, 50),
)
def test_more_of_what_no_honest_probe_does_never_clears(
    counts: dict[str, int], name: str, more: int
) -> None:
    """A doubt stays when the bad count grows and all else stays."""
    before = TrustFacts(**counts)
    after = TrustFacts(**{**asdict(before), name: counts[name] + more})
    assert set(doubts(before)) <= set(doubts(after))


def test_every_contact_has_an_answer_of_its_own() -> None:
    """The answer says what it is, and its hash is that of no other nonce."""
    assert body_of(bytes(16)).startswith(GREETING.encode())
    assert hash_of(body_of(bytes(16))) != hash_of(body_of(bytes(15) + b"1"))


def test_answers_are_bounded_and_strangers_take_nothing_from_probes() -> None:
    """A flood of strangers ends at their share; a probe's address goes on, up to its own."""
    allowance, known = Allowance(), {"192.0.2.1"}
    given_ = [
        allowance.take(f"198.51.100.{i % 250}", known=known, now_us=MINUTE_US) for i in range(700)
    ]
    assert sum(given_) == STRANGERS_MINUTE_MAX
    mine = [allowance.take("192.0.2.1", known=known, now_us=MINUTE_US) for _ in range(40)]
    assert sum(mine) == PER_PROBE_MINUTE_MAX
    assert allowance.take("198.51.100.1", known=known, now_us=2 * MINUTE_US)


SERVICE = """
[[service]]
name = "x"
[[service.component]]
name = "web"
url = "https://x.test/"
"""
CANARY = '[canary]\nlisten = "127.0.0.1:7480"\n'


@pytest.mark.parametrize(
    ("text", "finding"),
    [
        (CANARY, "canary.url is missing; give it a value"),
        (CANARY + 'url = "tcp://c.test:1"', 'canary[nonce].kinds is "http"; http needs a URL'),
        (CANARY + 'url = "nowhere"', 'canary[nonce].url is "nowhere"; give a URL such as'),
        (SERVICE.replace('"x"', '"canary"'), 'service[canary].name is "canary"; that name is kept'),
    ],
)
def test_what_is_wrong_with_a_canary_is_named(text: str, finding: str) -> None:
    """Its table is read like a component's, and its name is no service's."""
    with pytest.raises(ConfigError) as caught:
        validate(tomllib.loads(SERVICE + text), file="f.toml")
    assert caught.value.findings[0].startswith(f"f.toml: {finding}")


def test_a_canary_is_measured_by_everybody_and_judged_by_nobody() -> None:
    """It is a component of every plan, of a service of its own, and no anchor of the judge's."""
    config = validate(tomllib.loads(SERVICE + CANARY + 'url = "http://c.test/"'), file="f.toml")
    assert [c.service for c in config.components()] == ["x", "canary"]
    assert config.anchors == ()
    plain = validate(tomllib.loads(SERVICE), file="f.toml")
    assert (plain.canary, plain.distrust, plain.ask_on_doubt) == (None, True, True)
