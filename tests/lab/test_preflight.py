"""What is missing for the lab, and the line that fixes it."""

from __future__ import annotations

import os

import pytest

from deploy.lab.namespace import is_inside, search_path
from deploy.lab.preflight import PROGRAMS, Preflight, Trial, check, explain

NOBODY = 65534


@pytest.mark.parametrize(
    ("step", "settings", "uid", "fix"),
    [
        ("sandbox", {"user/max_user_namespaces": "0"}, NOBODY, "user.max_user_namespaces=15000"),
        (
            "sandbox",
            {"kernel/unprivileged_userns_clone": "0"},
            NOBODY,
            "kernel.unprivileged_userns_clone=1",
        ),
        (
            "forwarding",
            {"kernel/apparmor_restrict_unprivileged_userns": "1"},
            NOBODY,
            "kernel.apparmor_restrict_unprivileged_userns=0",
        ),
        ("sandbox", {"kernel/apparmor_restrict_unprivileged_userns": "1"}, 0, "seccomp=unconfined"),
        ("sandbox", {}, 0, "--cap-add SYS_ADMIN"),
        ("nft", {}, 0, "modprobe nf_tables"),
        ("tbf", {}, 0, "modprobe sch_tbf"),
        ("icmp", {}, 0, "seccomp=unconfined"),
    ],
)
def test_the_advice_fits_the_refusal(
    step: str, settings: dict[str, str], uid: int, fix: str
) -> None:
    """Each way of being refused has its own line that fixes it, and stops the lab."""
    lack = explain(
        Trial(failed_step=step, complaint="Operation not permitted"), settings.get, uid=uid
    )
    assert fix in lack.fix
    assert lack.essential
    preflight = Preflight(lacks=(lack,))
    assert not preflight.can_run
    assert "Operation not permitted" in preflight.reason
    assert preflight.text().startswith("The lab cannot run here.\n")


def test_without_queues_the_lab_runs_and_says_what_it_loses() -> None:
    """A kernel without NFQUEUE costs the distances, not the lab."""
    trial = Trial(failed_step="nfqueue", complaint="No target")
    lack = explain(trial, lambda _: None, uid=0)
    preflight = Preflight(lacks=(lack,))
    assert preflight.can_run
    assert preflight.reason == ""
    assert "without distances" in preflight.text()


def test_missing_programs_are_named_with_their_packages() -> None:
    """On a machine with nothing, every program is asked for by its Debian package."""
    preflight = check({"PATH": "/nonexistent"})
    essential = {program.name for program in PROGRAMS if program.essential}
    found = {lack.what.partition(" ")[0] for lack in preflight.lacks}
    on_system_paths = {name for name in essential if name not in found}
    assert on_system_paths <= {"nft", "tc"}  # Debian keeps these where the lab looks by itself
    assert not preflight.can_run
    assert "apt-get install --no-install-recommends util-linux" in preflight.reason
    assert "util-linux" in preflight.packages
    assert preflight.text().endswith(f"{' '.join(preflight.packages)}    # as root")


def test_the_system_directories_are_searched() -> None:
    """An unprivileged user's PATH is completed, once."""
    assert search_path({"PATH": "/usr/bin"}) == "/usr/bin:/usr/sbin:/sbin"
    assert search_path({"PATH": "/usr/sbin:/sbin"}) == "/usr/sbin:/sbin"


@pytest.mark.lab
def test_a_machine_that_can_is_told_so() -> None:
    """Where this test runs, in a sandbox, nothing essential is missing."""
    assert is_inside(os.environ)
    assert check().can_run
