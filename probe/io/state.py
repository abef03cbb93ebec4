"""The probe's state directory: who it is, whom it trusts, the plan in force, the spool.

    probe.toml        the operator's file (optional)
    key.pem           private key, never leaves this machine
    csr.der           kept, so that an enrolment whose reply was lost can be asked for again
    ca.pem            whom to trust
    endpoint.json     where the coordinator is
    certificate.pem   who this probe is; written last, so its presence means enrolled
    plan.bin          the signed plan in force
    addresses.json    what names led to in the last day
    probe.lock        held by the probe that runs, with its pid
    spool/            reports on their way

Every file is written whole or not at all: beside, synced, renamed.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from probe.exits import Exit, ProbeError

DEFAULT_STATE: Final = Path("/var/lib/soundings-probe")
_NO_ROOM: Final = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Where the coordinator is: HOST:PORT of the enrolment door and of the fleet doors."""

    probe_id: str
    enrol: str
    fleet: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """What an enrolment left."""

    key_pem: bytes
    certificate_pem: bytes
    ca_pem: bytes
    csr_der: bytes
    endpoint: Endpoint
    # TLS reads these two from files alone.
    key_file: Path
    certificate_file: Path


class StateDirectory:
    """Reads and writes the files of one probe; every OSError becomes a ProbeError that names it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def spool(self) -> Path:
        """Where the spool lies."""
        return self.path / "spool"

    def make(self) -> None:
        """Create it for this user alone, and see that it can be written."""
        with self._explained(self.path):
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            trial = self.path / ".writable"
            trial.write_bytes(b"1")
            trial.unlink()

    @contextlib.contextmanager
    def claimed(self) -> Iterator[None]:
        """Keep every other running probe out: two would store each slot twice and end each other's sessions.

        The lock is the process's own (fcntl(2)): a process made for a renewal does not hold it on.
        """
        path = self.path / "probe.lock"
        with self._explained(path):
            try:
                lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            except OSError as error:
                if error.errno not in _NO_ROOM:
                    raise
                lock = None
        if lock is None:  # a probe measures on while its disk is full
            yield
            return
        with contextlib.closing(_Fd(lock)):
            self._lock(lock)
            yield

    def _lock(self, lock: int) -> None:
        try:
            fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError) as error:
            owner = os.pread(lock, 32, 0).decode("ascii", "replace").strip()
            raise ProbeError(
                f"{self.path}: another probe (pid {owner or 'unknown'}) runs with this state "
                "directory; stop it, or enrol a second one with another --state",
                code=Exit.STATE_UNUSABLE,
            ) from error
        with contextlib.suppress(
            OSError
        ):  # no room for the pid, or another's file: the lock is had
            os.fchmod(lock, 0o666)  # root may run it today, and whose directory it is tomorrow
            os.ftruncate(lock, 0)
            os.pwrite(lock, str(os.getpid()).encode(), 0)

    def read(self, name: str) -> bytes | None:
        """A file's content; None when there is none."""
        with self._explained(self.path / name):
            try:
                return (self.path / name).read_bytes()
            except FileNotFoundError:
                return None

    def write(self, name: str, content: bytes) -> None:
        """Replace a file as a whole, readable by this user alone."""
        target = self.path / name
        beside = self.path / f".{name}.new"
        with self._explained(target):
            fd = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            with os.fdopen(fd, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(fd)
            beside.replace(target)
            directory_fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
            with contextlib.closing(_Fd(directory_fd)):
                os.fsync(directory_fd)

    def save_endpoint(self, endpoint: Endpoint) -> None:
        """Where the coordinator is."""
        self.write("endpoint.json", json.dumps(asdict(endpoint), indent=2).encode() + b"\n")

    def identity(self) -> Identity:
        """Who this probe is. Raises ProbeError when it is not enrolled."""
        names = ("key.pem", "certificate.pem", "ca.pem", "csr.der", "endpoint.json")
        found = {name: self.read(name) for name in names}
        missing = [name for name, content in found.items() if content is None]
        if missing:
            raise ProbeError(
                f"{self.path}: {missing[0]} is missing, so this probe is not enrolled; run "
                f"`soundings probe enrol --state {self.path} --coordinator HOST:PORT TOKEN` first",
                code=Exit.BAD_CONFIG,
            )
        files = {name: content for name, content in found.items() if content is not None}
        return Identity(
            key_pem=files["key.pem"],
            certificate_pem=files["certificate.pem"],
            ca_pem=files["ca.pem"],
            csr_der=files["csr.der"],
            endpoint=self._endpoint(files["endpoint.json"]),
            key_file=self.path / "key.pem",
            certificate_file=self.path / "certificate.pem",
        )

    def _endpoint(self, content: bytes) -> Endpoint:
        try:
            read = json.loads(content)
            fleet = tuple(str(one) for one in read["fleet"])
            _ = fleet[0]  # with no door at all it is as good as not there
            return Endpoint(probe_id=str(read["probe_id"]), enrol=str(read["enrol"]), fleet=fleet)
        except (ValueError, LookupError, TypeError) as error:
            raise ProbeError(
                f"{self.path / 'endpoint.json'}: it cannot be read ({error!r}); enrol again",
                code=Exit.STATE_UNUSABLE,
            ) from error

    @contextlib.contextmanager
    def _explained(self, path: Path) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise ProbeError(
                f"{path}: {error.strerror or error}; the state directory must be on a disk with "
                "free space and belong to the user that runs the probe",
                code=Exit.STATE_UNUSABLE,
            ) from error


@dataclass(frozen=True, slots=True)
class _Fd:
    number: int

    def close(self) -> None:
        os.close(self.number)
