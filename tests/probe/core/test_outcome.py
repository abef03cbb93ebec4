from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from probe.core.outcome import (
    ANSWERS_CHARS_MAX,
    Attempt,
    IcmpError,
    Refusal,
    Resolved,
    blank_row,
    first_operation,
    join_answers,
    not_run,
    port_of,
    refused,
    validity_of,
)
from proto.model import Failure, Kind, Operation, Reason, StampSource, State, Validity
from tests.fakes.checks import check


def attempt(failure: Failure | None = Failure.REFUSED, **fields: object) -> Attempt:
    """One connection to 192.0.2.1 that took 1.5 ms."""
    values: dict[str, object] = {
        "operation": Operation.CONNECT,
        "address": "192.0.2.1",
        "elapsed_us": 1500,
        "stamp_source": StampSource.USER,
        "failure": failure,
        "classified_by": "row",
        **fields,
    }
    return Attempt(**values)


def refusal(failure: Failure = Failure.REFUSED, **fields: object) -> Refusal:
    """A connection that ended so."""
    return Refusal(operation=Operation.CONNECT, attempt=attempt(failure), failure=failure, **fields)


RESOLVED = Resolved(
    address="192.0.2.1",
    addresses=("192.0.2.1", "192.0.2.2"),
    ttl_s=60,
    rcode=0,
    resolve_us=800,
    attempts=(attempt(None, operation=Operation.RESOLVE),),
)


@pytest.mark.parametrize(
    ("kind", "fields", "port"),
    [
        (Kind.ICMP, {"port": 80}, None),
        (Kind.TCP, {"port": 22}, 22),
        (Kind.HTTP, {}, 80),
        (Kind.HTTP, {"use_tls": True}, 443),
        (Kind.HTTP, {"use_tls": True, "port": 8443}, 8443),
        (Kind.TLS, {}, 443),
        (Kind.DNS, {}, 53),
    ],
)
def test_each_kind_has_its_port(kind: Kind, fields: dict[str, object], port: int | None) -> None:
    """The check's own port, else that of its scheme; echo has none."""
    assert port_of(check(kind, **fields)) == port


def test_a_local_failure_is_a_fault_of_the_probe() -> None:
    """Only local words make a row unfit for judging the target."""
    assert validity_of(Failure.LOCAL_NO_PORT) is Validity.PROBE_FAULT
    assert validity_of(Failure.REFUSED) is Validity.OK
    assert validity_of(None) is Validity.OK


def test_a_slot_not_run_has_a_reason_and_no_start() -> None:
    """Nothing was sent, nothing was lost, and people can read why."""
    outcome = not_run(check(port=80), reason=Reason.UNSUPPORTED, why="no such thing")
    row = outcome.result
    assert (row.state, row.reason) == (State.NOT_RUN, Reason.UNSUPPORTED)
    assert (row.started_at_us, row.sent, row.lost, row.failure) == (None, 0, 0, None)
    assert outcome.attempts[0].detail == "no such thing"


def test_a_refusal_becomes_a_row_with_its_cause() -> None:
    """Operation, word, router and time to the answer stand in the row."""
    icmp = IcmpError(family=4, icmp_type=3, icmp_code=3, router="192.0.2.254", errno=111)
    outcome = refused(
        check(port=80),
        refusal(Failure.REJECTED, icmp=icmp, retransmits=1),
        resolved=RESOLVED,
        attempts=RESOLVED.attempts,
    )
    row = outcome.result
    assert (row.operation, row.failure) == (Operation.CONNECT, Failure.REJECTED)
    assert (row.sent, row.lost, row.retransmits, row.connect_us) == (1, 1, 1, 1500)
    assert (row.router, row.icmp_type, row.icmp_code) == ("192.0.2.254", 3, 3)
    assert (row.address, row.answers) == ("192.0.2.1", "192.0.2.1 192.0.2.2")
    assert (row.resolve_us, row.dns_ttl_s, row.dns_rcode) == (800, 60, 0)
    assert [step.operation for step in outcome.attempts] == [Operation.RESOLVE, Operation.CONNECT]


@pytest.mark.parametrize("failure", [Failure.TIMEOUT, Failure.LOCAL_NO_ROUTE])
def test_silence_and_local_failures_have_no_time_to_an_answer(failure: Failure) -> None:
    """Nobody answered, so there is no time in which anybody did."""
    assert refused(check(port=80), refusal(failure)).result.connect_us is None


def test_a_barred_address_is_no_failure_but_keeps_the_answers() -> None:
    """What DNS said is a fact, though the vantage would not go there."""
    barred = Refusal(
        operation=Operation.CONNECT,
        attempt=attempt(None),
        reason=Reason.POLICY,
        answers=("10.0.0.1",),
        dns_rcode=0,
        resolve_us=900,
    )
    row = refused(check(port=80), barred).result
    assert (row.state, row.reason, row.failure) == (State.NOT_RUN, Reason.POLICY, None)
    assert (row.sent, row.answers, row.resolve_us) == (0, "10.0.0.1", 900)


def test_tries_before_the_last_are_shown() -> None:
    """A resolver that was silent first is part of the story."""
    first = attempt(Failure.DNS_TIMEOUT, operation=Operation.RESOLVE)
    outcome = refused(check(port=80), refusal(earlier=(first,)))
    assert outcome.attempts == (first, refusal().attempt)


def test_a_literal_has_no_answers() -> None:
    """Nothing was asked, so nothing was answered: not known, rather than empty."""
    literal = Resolved(address="192.0.2.1", addresses=("192.0.2.1",))
    row = blank_row(check(port=80), resolved=literal)
    assert (row.address, row.answers, row.resolve_us) == ("192.0.2.1", None, None)
    assert literal.attempt is None
    assert RESOLVED.attempt is RESOLVED.attempts[-1]


def test_too_many_answers_are_cut_between_two() -> None:
    """Half an address would be another address; a last sign says that some are missing."""
    answers = tuple(f"192.0.{high}.{low}" for high in range(2) for low in range(200))
    text = join_answers(answers)
    assert text is not None
    assert ANSWERS_CHARS_MAX - 20 < len(text) <= ANSWERS_CHARS_MAX
    *whole, sign = text.split(" ")
    assert set(whole) < set(answers)
    assert sign == "…"


def test_an_answer_too_long_hides_no_other() -> None:
    """What fits is kept though what comes before it does not; the sign alone stands for nothing."""
    assert join_answers(("a" * ANSWERS_CHARS_MAX, "b")) == "b …"
    assert join_answers(("a" * ANSWERS_CHARS_MAX,)) == "…"


@given(st.lists(st.ip_addresses().map(str), max_size=20))
def test_answers_are_whole_sorted_and_bounded(answers: list[str]) -> None:
    """The text holds whole answers, as many as fit; none is no text."""
    text = join_answers(tuple(answers))
    if not answers:
        assert text is None
        return
    assert text is not None
    assert len(text) <= ANSWERS_CHARS_MAX
    assert text.split(" ") == sorted(answers)[: len(text.split(" "))]


@pytest.mark.parametrize(
    ("kind", "operation"),
    [
        (Kind.ICMP, Operation.ECHO),
        (Kind.DNS, Operation.RESOLVE),
        (Kind.TLS, Operation.CONNECT),
    ],
)
def test_each_kind_starts_with_its_step(kind: Kind, operation: Operation) -> None:
    """The step that would have come first is named where none was taken."""
    assert first_operation(check(kind)) is operation
