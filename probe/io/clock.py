"""The clocks of this machine: the wall, carried by the monotonic one, and what the kernel knows."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import ClassVar, Final

import trio

from probe.core.clock import (
    STAMP_US_MAX,
    ClockEstimate,
    ClockFilter,
    ClockSample,
    Reading,
    Timeline,
)
from probe.core.drift import Drift, DriftFilter
from probe.core.ledger import ClockFacts

STA_UNSYNC: Final = 0x40
_PPM: Final = 1 << 16  # the kernel's unit of frequencies is a 65,536th of a part per million
CLOCK_TOLERANCE_S: Final = 2.0
"""Rows of several vantages line up in bins; below this nobody needs to be told."""

_APART_US: Final = 5_000
"""Two readings of one instant further apart than this were torn by the scheduler: read again."""

_READS_MAX: Final = 4

MOMENT_US: Final = 1_000
"""Both clocks are looked at together this often at most where many ask for one instant each."""

KERNEL_LOOK_US: Final = 1_000_000
"""The kernel is asked about its clock this often at most: it changes its mind over minutes."""

SET_NTP: Final = (
    "turn on time synchronisation (`timedatectl set-ntp true`, or start chrony) and look with "
    "`timedatectl`"
)


def wall_us(offset_s: float = 0.0) -> Callable[[], int]:
    """The wall clock in microseconds since 1970 UTC; `offset_s` shifts it for drills."""
    offset_us = round(offset_s * 1_000_000)
    return lambda: time.time_ns() // 1000 + offset_us  # the one wall clock of the probe


def utc(at_us: int) -> datetime:
    """A stamp as a date."""
    return datetime.fromtimestamp(0, UTC) + timedelta(microseconds=at_us)


def clock_note(*, probe_us: int, coordinator_us: int) -> str | None:
    """A sentence when this machine's clock is off by more than anyone should be; else None."""
    off_s = (coordinator_us - probe_us) / 1_000_000
    if not 0 < coordinator_us <= STAMP_US_MAX or abs(off_s) <= CLOCK_TOLERANCE_S:
        return None
    side = "behind" if off_s > 0 else "ahead of"
    return (
        f"this machine's clock is {_span(abs(off_s))} {side} the coordinator's "
        f"({utc(probe_us):%Y-%m-%d %H:%M:%S} here, {utc(coordinator_us):%Y-%m-%d %H:%M:%S} there, UTC); "
        f"its rows are marked clock_suspect until that is repaired: {SET_NTP}"
    )


def drift_note(drift: Drift | None) -> str | None:
    """A sentence when this machine's clock runs away faster than any sound one; else None."""
    if drift is None or not drift.wild:
        return None
    pace = "gains" if drift.ppb > 0 else "loses"
    return (
        f"this machine's clock {pace} {abs(drift.ppb) / 1000:.0f} ppm "
        f"({abs(drift.ppb) * 86_400 / 1e9:.0f} s a day) on the coordinator's: {SET_NTP}; where that "
        "is on, the machine's hardware or hypervisor keeps bad time"
    )


def _span(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def mono_us() -> Callable[[], int]:
    """The monotonic clock of the loop that this is called in, which a test may drive."""
    now_s = trio.lowlevel.current_clock().current_time  # `trio.current_time` looks for it each time
    return lambda: round(now_s() * 1_000_000)


class Clocks:
    """Both clocks looked at together, how far the wall clock is off, and what the kernel thinks."""

    def __init__(
        self,
        wall: Callable[[], int],
        *,
        mono: Callable[[], int] | None = None,
        kernel: Callable[[], bool | None] | None = None,
    ) -> None:
        self.wall = wall
        self._mono = mono = mono or mono_us()
        self._kernel = kernel or synchronised
        self._kernel_said: tuple[int, bool | None] | None = None  # when, and what
        self._timeline = Timeline(wall_us=wall(), mono_us=mono())
        self._filter = ClockFilter()
        self._drift = DriftFilter()
        self._drift_told = False
        self._jumped_us = 0
        self._looked: tuple[int, int] | None = None  # what the last look gave, and when
        self.steps = 0

    def look(self) -> Reading:
        """One instant by both clocks; a step is counted and voids the samples taken before it."""
        before, wall, after = self._mono(), self.wall(), self._mono()
        for _ in range(_READS_MAX):
            if after - before <= _APART_US:
                break
            before, wall, after = self._mono(), self.wall(), self._mono()
        mono_us = (before + after) // 2
        reading = self._timeline.read(wall_us=wall, mono_us=mono_us)
        self._looked = reading.now_us, mono_us
        if reading.jump_us:
            self.steps += 1
            self._jumped_us += reading.jump_us
            self._filter.clear()
            self._drift.clear()
        return reading

    def now_us(self) -> int:
        """What a look would give: the last one, carried on by the monotonic clock for a moment."""
        mono_us = self._mono()
        if self._looked is None or mono_us - self._looked[1] >= MOMENT_US:
            return self.look().now_us
        return self._looked[0] + mono_us - self._looked[1]

    def take_jump_us(self) -> int:
        """How far the wall clock has jumped since this was last asked, whoever looked."""
        jumped_us, self._jumped_us = self._jumped_us, 0
        return jumped_us

    def mono_us(self) -> int:
        """The monotonic clock."""
        return self._mono()

    def add(self, sample: ClockSample) -> bool:
        """Take a sample of the coordinator's clock; False = it contradicts itself."""
        self.look()
        now_us = self._mono()
        taken = self._filter.add(sample, mono_us=now_us)
        if taken:
            self._drift.add(offset_us=sample.offset_us, error_us=sample.error_us, mono_us=now_us)
        return taken

    def estimate(self) -> ClockEstimate | None:
        """How far the wall clock is off; None = not known."""
        return self._filter.estimate(mono_us=self._mono())

    def drift(self) -> Drift | None:
        """How much the wall clock gains on the coordinator's; None = not known."""
        return self._drift.drift()

    def take_drift_note(self) -> str | None:
        """What a person must be told of the drift, once in the life of the process."""
        note = None if self._drift_told else drift_note(self.drift())
        self._drift_told = self._drift_told or note is not None
        return note

    def synchronised(self) -> bool | None:
        """Whether the kernel believes its clock is disciplined, as it said within the last second."""
        now_us = self._mono()
        if self._kernel_said is None or now_us - self._kernel_said[0] >= KERNEL_LOOK_US:
            self._kernel_said = (now_us, self._kernel())
        return self._kernel_said[1]

    def facts(self, *, steps_before: int) -> ClockFacts:
        """For a row whose slot fell due when `steps_before` steps were counted."""
        return ClockFacts(
            estimate=self.estimate(),
            stepped=self.steps != steps_before,
            synchronised=self.synchronised(),
        )


class _Timex(ctypes.Structure):
    """struct timex of <sys/timex.h>."""

    _fields_: ClassVar = [
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_long * 32),
    ]


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None)  # loading it takes a thousand times as long as the call


def _timex() -> _Timex | None:
    """adjtimex(2) with modes 0 only reads, and needs no permission; None = it would not say."""
    timex = _Timex()
    try:
        failed = _libc().adjtimex(ctypes.byref(timex)) < 0
    except (OSError, AttributeError):
        return None
    return None if failed else timex


def synchronised() -> bool | None:
    """Whether the kernel believes that somebody disciplines its clock; None = it would not say."""
    timex = _timex()
    return None if timex is None else not timex.status & STA_UNSYNC


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelClock:
    """What the kernel says of its clock."""

    synchronised: bool
    bound_us: int  # of the error, as whoever disciplines it says; grows until told anew
    correction_ppm: float  # by which the oscillator is corrected


def kernel_clock() -> KernelClock | None:
    """All that adjtimex(2) says and a person can use; None = it would not say."""
    timex = _timex()
    if timex is None:
        return None
    return KernelClock(
        synchronised=not timex.status & STA_UNSYNC,
        bound_us=timex.maxerror,
        correction_ppm=timex.freq / _PPM,
    )
