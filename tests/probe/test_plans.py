from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from probe.io.state import StateDirectory
from probe.plans import FILE, PlanBook
from proto.gen import plan_pb2
from proto.model import Plan
from tests.fakes.fleet import PROBE_ID, Authority
from tests.fakes.ledgers import a_check

AUTHORITY = Authority()
PLAN = Plan(version=3, checks=(a_check(),))


class Book:
    """A plan book over a directory, and the plans that it made the probe follow."""

    def __init__(self, path: Path) -> None:
        self.followed: list[Plan] = []
        self.state = StateDirectory(path)
        self.state.write("ca.pem", AUTHORITY.pem)
        self.book = PlanBook(self.state, probe_id=PROBE_ID, follow=self._follow)

    def _follow(self, plan: Plan) -> int:
        """The n-th plan holds from instant n."""
        self.followed.append(plan)
        return len(self.followed)


async def test_a_plan_is_kept_and_restored(tmp_path: Path) -> None:
    """What was followed last is followed after a restart."""
    first = Book(tmp_path)
    await first.book.adopt(AUTHORITY.sign(PLAN))
    second = Book(tmp_path)
    second.book.restore()
    assert first.followed == second.followed == [PLAN]
    assert second.book.plan == PLAN


async def test_the_same_plan_again_is_not_written_again(tmp_path: Path) -> None:
    """Every session begins with the plan; the disk need not know."""
    book = Book(tmp_path)
    signed = AUTHORITY.sign(PLAN)
    await book.book.adopt(signed)
    (tmp_path / FILE).unlink()
    await book.book.adopt(signed)
    assert book.state.read(FILE) is None
    assert book.followed == [PLAN, PLAN]


async def test_a_plan_holds_from_when_it_was_taken_up_first(tmp_path: Path) -> None:
    """The same version in a later session changes nothing; the next version begins anew."""
    book = Book(tmp_path)
    assert book.book.since_us is None
    for plan, since_us in ((PLAN, 1), (PLAN, 1), (replace(PLAN, version=4), 3)):
        await book.book.adopt(AUTHORITY.sign(plan))
        assert book.book.since_us == since_us


def test_without_a_stored_plan_nothing_is_measured(tmp_path: Path) -> None:
    """A freshly enrolled probe waits for its first session."""
    book = Book(tmp_path)
    book.book.restore()
    assert book.followed == []
    assert book.book.plan.checks == ()


@pytest.mark.parametrize(
    "content",
    [
        b"\xff\xff\xff",
        AUTHORITY.sign(PLAN).SerializeToString()[:-3],
        Authority().sign(PLAN).SerializeToString(),
        AUTHORITY.sign(PLAN, probe_id="probe-2").SerializeToString(),
        plan_pb2.SignedPlan().SerializeToString(),
    ],
    ids=["noise", "cut", "signed by another", "signed for another", "empty"],
)
def test_a_stored_plan_that_is_not_ours_is_not_followed(tmp_path: Path, content: bytes) -> None:
    """Whoever can write the file still cannot make the probe contact anything."""
    book = Book(tmp_path)
    book.state.write(FILE, content)
    book.book.restore()
    assert book.followed == []


async def test_a_plan_that_does_not_parse_leaves_the_old_one_in_force(tmp_path: Path) -> None:
    """Signed by the right key, and still nonsense."""
    book = Book(tmp_path)
    await book.book.adopt(AUTHORITY.sign(PLAN))
    await book.book.adopt(AUTHORITY.sign(replace(PLAN, checks=(a_check(family=5),))))
    assert book.book.plan == PLAN


async def test_a_plan_that_cannot_be_kept_is_followed_all_the_same(tmp_path: Path) -> None:
    """A full disk must not stop measuring by the newest plan."""
    book = Book(tmp_path)
    (tmp_path / f".{FILE}.new").mkdir()
    await book.book.adopt(AUTHORITY.sign(PLAN))
    assert book.followed == [PLAN]
    assert book.state.read(FILE) is None


@pytest.mark.parametrize(
    ("version", "issued_at_us", "taken"),
    [(2, 90, False), (2, 110, True), (4, 90, True), (3, 100, True), (2, 100, True)],
)
async def test_an_old_plan_does_not_come_again(
    tmp_path: Path, version: int, issued_at_us: int, taken: bool
) -> None:
    """Older by number and by time of issue is a replay; a restored or corrected coordinator is not."""
    book = Book(tmp_path)
    await book.book.adopt(AUTHORITY.sign(replace(PLAN, version=3, issued_at_us=100)))
    again = replace(PLAN, version=version, issued_at_us=issued_at_us)
    await book.book.adopt(AUTHORITY.sign(again))
    assert (book.book.plan == again) == taken


async def test_a_plan_of_another_probe_is_refused_with_both_names(tmp_path: Path) -> None:
    """Whoever holds a coordinator's channel cannot hand one probe the plan of another."""
    book = Book(tmp_path)
    await book.book.adopt(AUTHORITY.sign(PLAN))
    others = AUTHORITY.sign(replace(PLAN, version=4), probe_id="probe-2")
    with capture_logs() as logs:
        await book.book.adopt(others)
    assert [log["reason"] for log in logs if log["event"] == "plan_refused"] == [
        "it is signed for probe 'probe-2'; this one is 'probe-1'"
    ]
    assert book.book.plan == PLAN


async def test_a_plan_cannot_be_renamed(tmp_path: Path) -> None:
    """The name is under the signature, not beside it."""
    book = Book(tmp_path)
    renamed = AUTHORITY.sign(PLAN, probe_id="probe-2")
    renamed.probe_id = PROBE_ID
    await book.book.adopt(renamed)
    assert book.followed == []


ONCE = replace(PLAN, version=9, issued_at_us=1_000, checks=(a_check(interval_s=0),))


def test_checks_to_run_once_join_no_plan(tmp_path: Path) -> None:
    """They are handed on, nothing is followed, and the same request is not taken twice."""
    book = Book(tmp_path)
    signed = AUTHORITY.sign(ONCE, once=True)
    assert book.book.once(signed, now_us=2_000) == ONCE.checks
    assert book.followed == []
    with capture_logs() as logs:
        assert book.book.once(signed, now_us=2_000) == ()
    assert logs[0]["reason"] == "request 9 came before"


@pytest.mark.parametrize(
    ("signed", "reason"),
    [
        (AUTHORITY.sign(ONCE), "its signature"),
        (Authority().sign(ONCE, once=True), "its signature"),
        (AUTHORITY.sign(ONCE, once=True, probe_id="probe-2"), "signed for probe 'probe-2'"),
        (AUTHORITY.sign(replace(ONCE, checks=(a_check(),)), once=True), "interval_s is set"),
        (AUTHORITY.sign(replace(ONCE, issued_at_us=10**12), once=True), "another time"),
    ],
    ids=["a plan", "another authority", "another probe", "with slots", "another time"],
)
def test_what_is_no_request_for_this_probe_now_is_refused(
    tmp_path: Path, signed: plan_pb2.SignedPlan, reason: str
) -> None:
    """With its reason in the log, and nothing is run."""
    book = Book(tmp_path)
    with capture_logs() as logs:
        assert book.book.once(signed, now_us=2_000) == ()
    assert reason in logs[0]["reason"]


async def test_a_request_is_no_plan(tmp_path: Path) -> None:
    """What was signed to run once cannot take the place of what is measured."""
    book = Book(tmp_path)
    await book.book.adopt(AUTHORITY.sign(ONCE, once=True))
    assert book.followed == []
