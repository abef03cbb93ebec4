"""A row in the making."""

from __future__ import annotations

from dataclasses import replace

import pytest

from probe.core.classify import Classified
from probe.core.draft import (
    Draft,
    Elapsed,
    Fault,
    fault_of,
    join_hops,
    worst_of,
)
from probe.core.outcome import Outcome, blank_row, not_run
from proto.model import (
    Certificate,
    Check,
    Failure,
    Kind,
    Operation,
    Reason,
    StampSource,
    State,
    Validity,
)

CHECK = Check(check_no=1, check_id="c", kind=Kind.HTTP, host="x.test")
KERNEL_1_MS = Elapsed(1000, StampSource.KERNEL)


def draft() -> Draft:
    """An empty row of an http check."""
    return Draft(row=blank_row(CHECK), address="192.0.2.1")


def hop(**changes: object) -> Outcome:
    """A good hop with some fields of its row set."""
    row = replace(blank_row(CHECK), sent=1, **changes)  # type: ignore[arg-type] # tests name real fields
    return Outcome(result=row, attempts=())


def test_first_failure_names_the_row() -> None:
    """Later faults are attempts only."""
    made = draft()
    made.fail(Operation.TLS, Fault(Failure.TLS_EXPIRED, "row a", "detail"), KERNEL_1_MS)
    made.fail(Operation.REPLY, Fault(Failure.HTTP_STATUS, "row b"))
    outcome = made.finish()
    assert (
        outcome.result.operation,
        outcome.result.failure,
    ) == (Operation.TLS, Failure.TLS_EXPIRED)
    assert (outcome.result.sent, outcome.result.lost) == (1, 1)
    assert [a.failure for a in outcome.attempts] == [Failure.TLS_EXPIRED, Failure.HTTP_STATUS]


def test_fault_of_a_classification() -> None:
    """A fault carries the table's word and sentence, and the facts in words."""
    found = Classified(Failure.RESET, "row -> reset")
    assert fault_of(found, "ECONNRESET") == Fault(Failure.RESET, "row -> reset", "ECONNRESET")


def test_good_row() -> None:
    """Without a failure one connection was attempted and none lost."""
    made = draft()
    made.note(Operation.REPLY, KERNEL_1_MS, classified_by="as expected")
    row = made.finish().result
    assert (row.sent, row.lost, row.failure, row.validity) == (1, 0, None, Validity.OK)
    assert row.stamp_source is StampSource.KERNEL


def test_local_failure_is_the_probes() -> None:
    """A local failure marks the row as unfit to speak of the target."""
    made = draft()
    made.fail(Operation.REPLY, Fault(Failure.LOCAL_OVERLOAD, "row"))
    assert made.finish().result.validity is Validity.PROBE_FAULT


def test_worst_clock_wins() -> None:
    """A row is as good as the worst clock of its good steps; handing over a request is none."""
    made = draft()
    assert worst_of(made.clocks) is None
    made.note(Operation.CONNECT, Elapsed(1, StampSource.TCP_INFO), classified_by="row")
    made.note(Operation.REQUEST, Elapsed(1, StampSource.USER), classified_by="row")
    made.note(Operation.REPLY, KERNEL_1_MS, classified_by="row")
    made.fail(Operation.REPLY, Fault(Failure.RESET, "row"), Elapsed(1, StampSource.USER))
    assert worst_of(made.clocks) is StampSource.TCP_INFO
    made.note(Operation.TLS, Elapsed(1, StampSource.USER), classified_by="row")
    assert worst_of(made.clocks) is StampSource.USER


def test_steps_that_nobody_reads_are_not_put_into_words() -> None:
    """The row is the same with them and without, and what somebody else found counts as well."""
    told, untold = draft(), replace(draft(), is_told=False)
    for made in (told, untold):
        made.note(Operation.CONNECT, KERNEL_1_MS, classified_by="row")
        made.fail(Operation.REPLY, Fault(Failure.RESET, "row"), Elapsed(1, StampSource.USER))
    assert (told.finish().result, len(told.attempts)) == (untold.finish().result, 2)
    assert untold.attempts == []
    untold.take(told.attempts)
    assert untold.clocks == [StampSource.KERNEL, StampSource.KERNEL]
    assert untold.attempts == told.attempts


def test_total_is_the_sum_of_the_steps() -> None:
    """Steps that were not needed took no time."""
    made = draft()
    made.learn(connect_us=2, tls_us=3, first_byte_us=4)
    assert made.total_us(download_us=10) == 19
    made.learn(resolve_us=1)
    assert made.total_us() == 10


def test_one_hop_is_itself() -> None:
    """Without redirects joining changes nothing."""
    only = hop(total_us=5, location="/x")
    assert join_hops((only,)) == only
    barred = not_run(CHECK, reason=Reason.POLICY, why="private")
    assert join_hops((barred,)) == barred


def test_chain_of_redirects() -> None:
    """The row is the last hop's; the way's total, location and certificates are the whole chain's."""
    leaf = Certificate("aa", b"der")
    first = replace(hop(total_us=5, location="/x", http_status=302), certificates=(leaf,))
    last = replace(hop(total_us=7, http_status=200), certificates=(leaf,))
    joined = join_hops((first, last))
    assert (
        joined.result.http_status,
        joined.result.total_us,
        joined.result.location,
    ) == (200, 12, "/x")
    assert (leaf,) == joined.certificates


def test_chain_that_breaks_has_no_total() -> None:
    """A way that was not gone to its end has no time."""
    joined = join_hops((hop(total_us=5, location="/x"), hop(failure=Failure.TIMEOUT)))
    assert joined.result.total_us is None


@pytest.mark.parametrize("reason", [Reason.POLICY, Reason.UNSUPPORTED])
def test_a_hop_that_was_not_run_is_no_evidence(reason: Reason) -> None:
    """The reply that led there failed, and is kept; that nobody went there was our own decision."""
    barred = not_run(CHECK, reason=reason, why="10.0.0.1 is private")
    joined = join_hops((hop(total_us=5, location="http://in.test/"), barred))
    row = joined.result
    assert (row.state, row.operation, row.failure, row.lost) == (
        State.MEASURED,
        Operation.REPLY,
        Failure.HTTP_REDIRECT,
        1,
    )
    assert row.validity is Validity.PROBE_FAULT
    assert "10.0.0.1 is private" in joined.attempts[-1].detail
    assert join_hops((barred,)) == barred
