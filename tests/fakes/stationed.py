"""The real toolbox on one machine of the lab: a thread that lives there and runs checks."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import platform
import resource
import struct
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

import trio

from deploy.lab.namespace import in_namespace
from probe.core.outcome import Outcome
from probe.io.box import Toolbox, ToolboxSettings
from probe.io.clock import wall_us
from probe.toolbox import open_toolbox, run_check
from proto.model import Check

Found = TypeVar("Found")

# linux/prctl.h, linux/seccomp.h, linux/bpf_common.h
_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _SECCOMP_MODE_FILTER = 38, 22, 2
_LOAD_WORD, _JUMP_IF_EQUAL, _RETURN = 0x20, 0x15, 0x06
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000
_NUMBER_AT, _FIRST_ARGUMENT_AT = 0, 16
_SOCKET_CALL: Final = {"x86_64": 41, "aarch64": 198}


@dataclass(frozen=True, slots=True)
class Seen:
    """What a check came to, and how long its run took by our own clock."""

    outcome: Outcome
    elapsed_s: float


class Stationed:
    """A toolbox in a namespace, until `close`."""

    def __init__(
        self,
        descriptor: int,
        settings: ToolboxSettings,
        *,
        first: Callable[[], None] = lambda: None,
    ) -> None:
        """`first` runs on the thread before anything is opened."""
        self._ready = threading.Event()
        self._end: trio.Event | None = None
        self._failure: BaseException | None = None
        arguments = (descriptor, settings, first)
        self._thread = threading.Thread(target=self._live, args=arguments)
        self._thread.start()
        self._ready.wait()
        if self._failure is not None:
            raise self._failure

    def run(self, checks: Sequence[Check], *, stall_s: float = 0.0) -> tuple[Seen, ...]:
        """All these checks side by side; `stall_s`: the loop stands still once all have begun."""
        return trio.from_thread.run(self._run_all, checks, stall_s, trio_token=self._token)

    def call(self, function: Callable[[], Found]) -> Found:
        """Call a function on the thread: what it opens or starts belongs to the machine."""
        return trio.from_thread.run_sync(function, trio_token=self._token)

    def close(self) -> None:
        """Close the toolbox and end the thread."""
        assert self._end is not None
        trio.from_thread.run_sync(self._end.set, trio_token=self._token)
        self._thread.join()

    def _live(self, descriptor: int, settings: ToolboxSettings, first: Callable[[], None]) -> None:
        try:
            with in_namespace(descriptor):
                first()
                trio.run(self._serve, settings)
        except BaseException as error:  # noqa: BLE001 - raised where the station was made
            self._failure = error
        finally:
            self._ready.set()

    async def _serve(self, settings: ToolboxSettings) -> None:
        self._token = trio.lowlevel.current_trio_token()
        self._end = trio.Event()
        async with open_toolbox(settings, wall=wall_us()) as box:
            self._box: Toolbox = box
            self._ready.set()
            await self._end.wait()

    async def _run_all(self, checks: Sequence[Check], stall_s: float) -> tuple[Seen, ...]:
        found: dict[int, Seen] = {}

        async def one(place: int, check: Check) -> None:
            started = time.monotonic()
            outcome = await run_check(check, self._box)
            found[place] = Seen(outcome, time.monotonic() - started)

        async with trio.open_nursery() as nursery:
            for place, check in enumerate(checks):
                nursery.start_soon(one, place, check)
            if stall_s:
                await trio.lowlevel.checkpoint()
                threading.Event().wait(stall_s)
        return tuple(found[place] for place in range(len(checks)))


def forbid_family(family: int) -> None:
    """Make this thread's `socket` fail for an address family, as RestrictAddressFamilies= does.

    What the thread starts inherits it; there is no way back.
    """
    program = b"".join(
        struct.pack("=HBBI", *line)
        for line in (
            (_LOAD_WORD, 0, 0, _NUMBER_AT),
            (_JUMP_IF_EQUAL, 0, 3, _SOCKET_CALL[platform.machine()]),
            (_LOAD_WORD, 0, 0, _FIRST_ARGUMENT_AT),
            (_JUMP_IF_EQUAL, 0, 1, family),
            (_RETURN, 0, 0, _ERRNO | errno.EAFNOSUPPORT),
            (_RETURN, 0, 0, _ALLOW),
        )
    )
    lines = ctypes.create_string_buffer(program, len(program))
    header = struct.pack("@HxxxxxxP", len(program) // 8, ctypes.addressof(lines))
    libc = ctypes.CDLL(None, use_errno=True)
    given = ((_PR_SET_NO_NEW_PRIVS, 1, 0), (_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, header))
    for option, second, third in given:
        if libc.prctl(option, second, third, 0, 0) != 0:
            code = ctypes.get_errno()
            raise OSError(code, f"prctl {option}: {os.strerror(code)}")


@contextlib.contextmanager
def out_of_descriptors() -> Iterator[None]:
    """For the block, this process may open no file or socket more."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    with open(os.devnull, "rb") as lowest_free:  # noqa: PTH123 - only its number is wanted
        number = lowest_free.fileno()
    resource.setrlimit(resource.RLIMIT_NOFILE, (number, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
