"""Processes of the lab: started in a place, watched, stopped; nothing else.

A service is a real process with real sockets. It is forked from the lab's own (single-threaded)
process, enters its place, and then either runs a function of ours or becomes another program.
Forking instead of starting a new interpreter saves 0.2 s of imports for each of them.

A `Place` says where the sockets of a process live: a network namespace, or this machine's loopback
(the world without namespaces). Listening sockets of our own servers are opened by the parent inside
the place before the fork, so a service that was started is a service that accepts.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import select
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NoReturn, Protocol

#: How long a stopped process may take to leave by itself before it is killed.
STOP_TIMEOUT_S: Final = 5.0
#: How long a program may take until it has opened its sockets; nginx needs 20 ms on an idle core.
READY_TIMEOUT_S: Final = 15.0
READY_POLL_S: Final = 0.01
_PR_SET_PDEATHSIG: Final = 1


class LabError(Exception):
    """The lab could not do what it was asked to; the text says what and why."""


class Place(Protocol):
    """Where a process's sockets live."""

    @property
    def name(self) -> str: ...

    def enter(self) -> None:
        """Move the calling thread into this place; called in a child before it opens a socket."""

    def inside(self) -> contextlib.AbstractContextManager[None]:
        """Sockets opened by the calling thread in this block belong to the place."""


@dataclass(frozen=True, slots=True)
class HerePlace:
    """This process's own network: the place of the loopback world and of tests."""

    name: str = "here"

    def enter(self) -> None:
        """Nothing to enter."""

    @contextlib.contextmanager
    def inside(self) -> Iterator[None]:
        yield


@dataclass(slots=True)
class Running:
    """A child process, named, with its log."""

    name: str
    pid: int
    log: Path
    exit_code: int | None = None  # negative: the signal that ended it
    _pidfd: int = field(default=-1, repr=False)

    def __post_init__(self) -> None:
        self._pidfd = os.pidfd_open(self.pid)

    def alive(self) -> bool:
        return not self.wait(0)

    def wait(self, timeout_s: float) -> bool:
        """Reap the process if it ends within `timeout_s`; true when it has ended."""
        if self.exit_code is not None:
            return True
        poller = select.poll()
        poller.register(self._pidfd, select.POLLIN)
        if not poller.poll(timeout_s * 1000):
            return False
        _, status = os.waitpid(self.pid, 0)
        self.exit_code = os.waitstatus_to_exitcode(status)
        os.close(self._pidfd)
        return True

    def send(self, number: signal.Signals) -> None:
        """Send a signal; a process that has ended gets none."""
        if self.exit_code is None:
            signal.pidfd_send_signal(self._pidfd, number)

    def stop(self, timeout_s: float = STOP_TIMEOUT_S) -> int:
        """Ask the process to end (waking it if it is stopped), kill it if it does not; exit code."""
        self.send(signal.SIGCONT)
        self.send(signal.SIGTERM)
        if not self.wait(timeout_s):
            self.kill()
        assert self.exit_code is not None
        return self.exit_code

    def kill(self) -> None:
        """`kill -9`, and reap."""
        self.send(signal.SIGKILL)
        self.wait(STOP_TIMEOUT_S)

    def log_tail(self, lines: int = 20) -> str:
        """The last lines the process wrote, for error messages."""
        if not self.log.exists():
            return "(no log)"
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])


def launch(place: Place, run: Callable[[], object], *, name: str, log: Path) -> Running:
    """Fork a process that enters `place` and runs `run`; its exit code is 0, or 1 after a traceback.

    Standard output and error go to `log`, standard input is empty. The child forgets the parent's
    signal handlers and never returns from here.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    sys.stdout.flush()
    sys.stderr.flush()
    parent, pid = os.getpid(), os.fork()
    if pid == 0:
        _become_child(place, run, log, parent=parent)
    return Running(name, pid, log)


def launch_program(
    place: Place, argv: Sequence[str], *, name: str, log: Path, cwd: Path | None = None
) -> Running:
    """Start another program in `place`."""

    def become() -> NoReturn:
        if cwd is not None:
            os.chdir(cwd)
        os.execvp(argv[0], list(argv))  # noqa: S606 - the arguments are ours, a shell would only split them

    return launch(place, become, name=name, log=log)


def _become_child(place: Place, run: Callable[[], object], log: Path, *, parent: int) -> NoReturn:
    code = 1
    try:
        # The parent's heap stays shared between all children as long as nobody collects it.
        gc.freeze()
        _die_with_parent(parent)
        _reset_signals()
        _redirect(log)
        place.enter()
        result = run()
        code = result if isinstance(result, int) else 0
    except SystemExit as leaving:
        code = leaving.code if isinstance(leaving.code, int) else 1
    except KeyboardInterrupt:
        code = 130
    except BaseException:  # noqa: BLE001 - the last frame of a process: report, then leave
        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _die_with_parent(parent: int) -> None:
    # Without a sandbox nothing else would end a child whose parent was killed with -9.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)  # the parent died before the line above


def _reset_signals() -> None:
    # A session of its own: Ctrl-C at the terminal reaches the lab, which stops its children in order.
    os.setsid()
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)


def _redirect(log: Path) -> None:
    null = os.open(os.devnull, os.O_RDONLY)
    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(null, 0)
    os.dup2(out, 1)
    os.dup2(out, 2)
    os.close(null)
    os.close(out)
    # By line, so that a killed process has said what it did; and anew, because whoever runs us may
    # have put something else in the place of the standard streams.
    sys.stdout = open(1, "w", buffering=1, closefd=False)  # noqa: SIM115 - for life
    sys.stderr = open(2, "w", buffering=1, closefd=False)  # noqa: SIM115 - for life


def listen_tcp(place: Place, address: str, port: int, *, backlog: int) -> socket.socket:
    """Open a listening TCP socket inside `place`."""
    return _open(place, address, port, kind=socket.SOCK_STREAM, backlog=backlog)


def listen_udp(place: Place, address: str, port: int) -> socket.socket:
    """Open a bound UDP socket inside `place`."""
    return _open(place, address, port, kind=socket.SOCK_DGRAM, backlog=None)


def _open(
    place: Place, address: str, port: int, *, kind: socket.SocketKind, backlog: int | None
) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with place.inside():
        opened = socket.socket(family, kind)
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind((address, port))
        if backlog is not None:
            opened.listen(backlog)
    except OSError as error:
        opened.close()
        raise LabError(f"{place.name}: cannot open {address} port {port}: {error}") from error
    return opened


def wait_until(ready: Callable[[], bool], *, what: str, timeout_s: float = READY_TIMEOUT_S) -> None:
    """Poll until `ready` or raise `LabError` naming what was waited for."""
    deadline = time.monotonic() + timeout_s
    while not ready():
        if time.monotonic() > deadline:
            raise LabError(f"waited {timeout_s:g} s in vain for {what}")
        time.sleep(READY_POLL_S)


def stop_all(processes: Sequence[Running]) -> None:
    """Ask all to end at once, then wait for each: the slowest decides, not the sum."""
    for process in processes:
        process.send(signal.SIGCONT)
        process.send(signal.SIGTERM)
    for process in processes:
        process.stop()
