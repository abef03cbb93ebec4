"""Names and revisions of verdicts, and whom to judge."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from coordinator.core.revision import (
    Revision,
    Subject,
    changes_answer,
    chosen,
    is_sampled,
    next_revision,
    verdict_id,
)

NAMES = st.text(alphabet="abc.-/", min_size=1, max_size=5)
SUBJECTS = st.builds(Subject, service=NAMES, component=st.none() | NAMES)
T0 = 1_767_225_600_000_000


@given(st.tuples(SUBJECTS, st.none() | NAMES), st.tuples(SUBJECTS, st.none() | NAMES))
@settings(deadline=None)
def test_a_name_belongs_to_one_verdict(
    left: tuple[Subject, str | None], right: tuple[Subject, str | None]
) -> None:
    """Two verdicts share a name only if they are about the same thing."""
    names = [verdict_id(s, from_us=T0, to_us=T0 + 1, scenario=sc) for s, sc in (left, right)]
    assert (names[0] == names[1]) == (left == right)


def test_a_name_reads_like_what_it_names() -> None:
    """Service, component and time are legible; the whole service is called all."""
    spaces = verdict_id(Subject("x", "spaces"), from_us=T0, to_us=T0 + 60)
    whole = verdict_id(Subject("x", None), from_us=T0, to_us=T0 + 60)
    assert spaces.startswith("x.spaces.20260101T000000Z.")
    assert whole.startswith("x.all.20260101T000000Z.")
    assert verdict_id(Subject("x", "spaces"), from_us=T0, to_us=T0 + 120) != spaces


@given(st.lists(st.integers(0, 20), max_size=12))
@settings(deadline=None)
def test_revisions_count_up_and_never_repeat(stamps: list[int]) -> None:
    """An answer that rests on no more than the last one adds no revision."""
    known: Revision | None = None
    numbers = []
    for as_of in stamps:
        number = next_revision(known, as_of_us=as_of)
        if number is not None:
            known = Revision(number=number, as_of_us=as_of, level="unknown", verdict_class="dns")
            numbers.append(number)
    assert numbers == list(range(1, len(numbers) + 1))
    assert known is None or known.as_of_us == max(stamps)


def test_a_change_of_class_or_level_is_a_change_of_the_answer() -> None:
    """The first answer changes nothing; the same words again change nothing."""
    known = Revision(number=1, as_of_us=1, level="target", verdict_class="edge")
    assert not changes_answer(None, level="target", verdict_class="edge")
    assert not changes_answer(known, level="target", verdict_class="edge")
    assert changes_answer(known, level="target", verdict_class="tls")


def test_few_subjects_are_all_judged() -> None:
    """A small fleet has a verdict for everything, in a fixed order."""
    subjects = [Subject("x", "web"), Subject("x", None), Subject("a", "b"), Subject("x", "web")]
    found = chosen(subjects, wanted=(), from_us=T0, to_us=T0 + 60)
    assert [one.title for one in found] == ["a/b", "x", "x/web"]


def test_of_many_the_wanted_and_one_in_a_hundred_are_judged() -> None:
    """The draw is the same every time, close to its share, and never leaves out a wanted one."""
    subjects = [Subject("s", f"c{n}") for n in range(5000)]
    wanted = {subjects[7], subjects[4999]}
    found = chosen(subjects, wanted=wanted, from_us=T0, to_us=T0 + 60)
    assert wanted <= set(found)
    assert 25 <= len(found) <= 85
    assert found == chosen(reversed(subjects), wanted=wanted, from_us=T0, to_us=T0 + 60)
    later = chosen(subjects, wanted=wanted, from_us=T0 + 60, to_us=T0 + 120)
    assert set(later) - wanted != set(found) - wanted


def test_a_share_of_one_takes_everybody() -> None:
    """The bounds of the share are exact."""
    assert is_sampled("x", share=1.0)
    assert not is_sampled("x", share=0.0)
