"""A small disk of the drill's own, that can be filled to the last byte and made to stand still.

As root it is an ext4 in a file on a loop device, and standing still is `fsfreeze`: every write and
sync sleeps in the kernel, as on a disk that does not answer. Without root it is a tmpfs in a user
namespace; that never stands still, so the coordinator is stopped by SIGSTOP in its place.

Everything is mounted in a mount namespace that ends with the drill; a process of its own thaws what
it froze, whatever becomes of the drill.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.bench.contract import say

INSIDE: Final = "SOUNDINGS_TORTURE_INSIDE"
DISK_MIB: Final = 512
HOG: Final = "hog"
_BLOCK: Final = 4096


class GroundError(Exception):
    """No disk of its own can be had here."""


def go_inside(argv: Sequence[str]) -> int | None:
    """Run this drill again in a mount namespace and return its exit code; None = we are in it."""
    if os.environ.get(INSIDE):
        return None
    user = [] if os.geteuid() == 0 else ["--map-root-user"]
    unshare = ["unshare", *user, "--mount", "--propagation", "private"]
    again = [sys.executable, "-m", "tests.bench.torture", *argv]
    return subprocess.run(
        [*unshare, *again], env={**os.environ, INSIDE: "1"}, check=False
    ).returncode


@dataclass(frozen=True, slots=True)
class Ground:
    """The disk, mounted at `path`."""

    path: Path
    can_freeze: bool

    def fill(self) -> None:
        """Take every byte that is left."""
        with (self.path / HOG).open("wb", buffering=0) as hog:
            with contextlib.suppress(OSError):
                os.posix_fallocate(hog.fileno(), 0, shutil.disk_usage(self.path).free)
            hog.seek(0, os.SEEK_END)
            with contextlib.suppress(OSError):
                while True:
                    hog.write(bytes(_BLOCK))

    def free(self) -> None:
        """Give it back."""
        (self.path / HOG).unlink(missing_ok=True)

    def freeze(self, seconds: float) -> subprocess.Popen[bytes]:
        """Let nothing be written for so long; the process that is returned sees to the end of it."""
        script = (
            f"fsfreeze --freeze {self.path} && sleep {seconds}; fsfreeze --unfreeze {self.path}"
        )
        return subprocess.Popen(["sh", "-c", script], start_new_session=True)


def lay(directory: Path) -> Ground:
    """Mount a disk below `directory`. Raises GroundError when no kind can be had."""
    place = directory / "disk"
    place.mkdir()
    if _mount_loop(directory / "disk.img", place):
        return Ground(place, can_freeze=True)
    say("no loop device here: a tmpfs that can be full, and SIGSTOP for a disk that stands still")
    size = f"size={DISK_MIB}m"
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", size, "tmpfs", place], check=False)
    if mounted.returncode:
        raise GroundError("no file system can be mounted here, not even in a user namespace")
    return Ground(place, can_freeze=False)


def _mount_loop(image: Path, place: Path) -> bool:
    with image.open("wb") as file:
        file.truncate(DISK_MIB << 20)
    steps = (
        ["mkfs.ext4", "-q", "-m", "0", str(image)],
        ["mount", "-o", "loop", str(image), str(place)],
    )
    try:
        return all(
            subprocess.run(step, capture_output=True, check=False).returncode == 0 for step in steps
        )
    except FileNotFoundError:
        return False
