from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from probe.core.spool import (
    BODY_MAX,
    HEADER_BYTES,
    Eviction,
    Record,
    Segment,
    choose_victim,
    encode,
    evicted_name,
    is_behind,
    parse_evicted_name,
    parse_segment_name,
    scan,
    segment_name,
    segment_of,
)

records_st = st.lists(
    st.builds(
        Record,
        seq=st.integers(0, 2**64 - 1),
        rows=st.integers(0, 2**32 - 1),
        raw_bytes=st.integers(0, 2**32 - 1),
        codec=st.integers(0, 255),
        first_at_us=st.integers(-(2**63), 2**63 - 1),
        body=st.binary(max_size=60),
    ),
    max_size=6,
)


def segment(number: int, *, at: int | None = None, epoch: int = 1) -> Segment:
    """The segment with ten records from number * 10."""
    first = number * 10
    return Segment(
        epoch=epoch,
        first_seq=first,
        last_seq=first + 9,
        size=1000,
        rows=100,
        first_at_us=number if at is None else at,
    )


@given(records=records_st)
def test_what_is_written_is_read(records: list[Record]) -> None:
    """Every record comes back whole, and nothing of it is left over."""
    data = b"".join(map(encode, records))
    assert scan(data) == (tuple(records), len(data))


@given(records=records_st, cut=st.integers(0, 400))
def test_a_torn_tail_loses_only_itself(records: list[Record], cut: int) -> None:
    """Cut anywhere, all records before the cut are still there."""
    pieces = [encode(record) for record in records]
    data = b"".join(pieces)[:cut]
    whole = 0
    while sum(map(len, pieces[: whole + 1])) <= len(data) and whole < len(pieces):
        whole += 1
    assert scan(data) == (tuple(records[:whole]), sum(map(len, pieces[:whole])))


@given(records=records_st, place=st.integers(0, 10**6), flip=st.integers(1, 255))
def test_a_flipped_bit_is_never_a_record(records: list[Record], place: int, flip: int) -> None:
    """What comes back from damaged bytes is a prefix of what was written."""
    data = bytearray(b"".join(map(encode, records)))
    if data:
        data[place % len(data)] ^= flip
    found, _ = scan(bytes(data))
    assert found == tuple(records[: len(found)])
    assert len(found) < len(records) or not records


def test_an_absurd_size_is_damage() -> None:
    """A header that claims more than any report is not followed."""
    data = (BODY_MAX + 1).to_bytes(4, "little") + bytes(HEADER_BYTES)
    assert scan(data + bytes(BODY_MAX + 2)) == ((), 0)


def test_names_sort_as_reports_do() -> None:
    """The order of file names is (epoch, seq), so a directory listing is the sending order."""
    places = [(1, 2), (1, 10), (2, 1), (255, 1), (256, 1)]
    names = [segment_name(*place) for place in places]
    assert names == sorted(names)
    assert [parse_segment_name(name) for name in names] == places
    assert parse_segment_name("evicted-1") is None


def test_the_count_of_evicted_rows_is_a_name() -> None:
    """It goes there and back, and other names hold no count."""
    assert parse_evicted_name(evicted_name(12_345)) == 12_345
    assert parse_evicted_name(segment_name(1, 1)) is None
    assert len(evicted_name(0)) == len(evicted_name(10**15))


def test_a_segment_sums_its_records() -> None:
    """First and last seq, rows and the first slot come from the records."""
    made = [
        Record(seq=seq, rows=5, raw_bytes=1, codec=0, first_at_us=seq * 10, body=b"")
        for seq in (3, 4)
    ]
    summed = segment_of(7, made, size=99)
    assert (summed.first_seq, summed.last_seq, summed.rows, summed.first_at_us) == (3, 4, 10, 30)
    assert summed.name == segment_name(7, 3)


def test_an_ack_covers_whole_segments_of_its_epoch() -> None:
    """Another epoch, or a last record that is still out, keeps a segment."""
    assert is_behind(segment(1), epoch=1, seq=19)
    assert not is_behind(segment(1), epoch=1, seq=18)
    assert not is_behind(segment(1), epoch=2, seq=99)


def test_nothing_to_evict_is_none() -> None:
    """An empty spool has no victim."""
    assert choose_victim([], Eviction.OLDEST) is None
    assert choose_victim([], Eviction.THIN) is None


def test_the_oldest_goes_first_by_default() -> None:
    """And a spool too short to be thinned gives its oldest too."""
    segments = [segment(number) for number in range(9)]
    assert choose_victim(segments, Eviction.OLDEST) == segments[0]
    assert choose_victim(segments[:3], Eviction.THIN) == segments[0]


def test_thinning_keeps_a_picture_of_a_long_outage() -> None:
    """After nine tenths are gone the oldest segment is still there and no gap is a great one."""
    segments = [segment(number) for number in range(200)]
    while len(segments) > 20:
        victim = choose_victim(segments, Eviction.THIN)
        assert victim is not None
        segments.remove(victim)
    numbers = [one.first_at_us for one in segments]
    assert numbers[0] == 0
    gaps = [b - a for a, b in pairwise(numbers)]
    assert max(gaps) <= 64
    assert numbers[-1] == 199
