"""Can the lab run here, and if not, which one line makes it run?

The answer is tried, not guessed: a sandbox is made as the lab makes it, and in it each operation
that the lab needs is carried out for real (a few hundredths of a second). The first step that fails decides,
and what the machine says of itself (sysctls, containers, AppArmor) decides which advice is given.

What only takes something away (no iptables: no distances; no nginx: no web services) is told
apart from what the network cannot do without.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from deploy.lab.namespace import SANDBOX, sandbox_environment, search_path

_TRIAL_S: Final = 20.0
_DOCKER_ADVICE: Final = (
    "start the container with --security-opt seccomp=unconfined --security-opt apparmor=unconfined"
    " (and, as root inside it, --cap-add SYS_ADMIN --cap-add NET_ADMIN)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A program of the system, the Debian package that has it, and what goes without it."""

    name: str
    package: str
    needed_for: str
    essential: bool = False


PROGRAMS: Final = (
    Program(name="unshare", package="util-linux", needed_for="the sandbox", essential=True),
    Program(name="nft", package="nftables", needed_for="faults", essential=True),
    Program(name="tc", package="iproute2", needed_for="saturated links", essential=True),
    Program(name="iptables-restore", package="iptables", needed_for="distances between places"),
    Program(name="nginx", package="nginx-light", needed_for="web services"),
    Program(name="fping", package="fping", needed_for="an independent look at reachability"),
    Program(name="dig", package="bind9-dnsutils", needed_for="an independent look at names"),
    Program(name="mtr", package="mtr-tiny", needed_for="an independent look at paths"),
    Program(name="traceroute", package="traceroute", needed_for="an independent look at paths"),
    Program(name="curl", package="curl", needed_for="an independent look at web services"),
    Program(name="openssl", package="openssl", needed_for="an independent look at certificates"),
)

# Each step is a word and the shell that tries it; the last word printed is the step that failed.
_STEPS: Final = (
    ("forwarding", "echo 1 > /proc/sys/net/ipv4/ip_forward"),
    ("icmp", "echo '0 0' > /proc/sys/net/ipv4/ping_group_range"),
    ("veth", "ip link add la type veth peer name lb && ip link set la up"),
    (
        "nft",
        (
            "nft 'add table netdev t;"
            ' add chain netdev t c { type filter hook ingress device "la" priority 0; };'
            " add rule netdev t c numgen random mod 100 < 1 drop;"
            " add table inet u; add chain inet u c { type filter hook forward priority 0; };"
            " add rule inet u c tcp dport 443 reject with tcp reset'"
        ),
    ),
    ("tbf", "tc qdisc add dev la root handle 1: tbf rate 10mbit burst 6000 limit 30000"),
    ("pfifo", "tc qdisc add dev la parent 1: pfifo limit 85"),
)
_NFQUEUE_STEP: Final = (
    "nfqueue",
    "iptables -t mangle -A POSTROUTING -j NFQUEUE --queue-num 0 --queue-bypass",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lack:
    """One thing that is missing: what, why it matters, and the line that changes it."""

    what: str
    consequence: str
    fix: str
    essential: bool
    package: str | None = None  # the Debian package that would bring it


@dataclass(frozen=True, slots=True, kw_only=True)
class Preflight:
    """What was found. The lab can run when nothing essential is missing."""

    lacks: tuple[Lack, ...]

    @property
    def can_run(self) -> bool:
        """Is everything there that the network cannot do without?"""
        return not any(lack.essential for lack in self.lacks)

    @property
    def reason(self) -> str:
        """Why the lab cannot run, with the fix; empty when it can."""
        return "; ".join(f"{k.what} ({k.fix})" for k in self.lacks if k.essential)

    def text(self) -> str:
        """For people: one paragraph a lack, the fix on a line of its own."""
        head = "The lab can run here." if self.can_run else "The lab cannot run here."
        lines = [head]
        for lack in self.lacks:
            lines += [f"- {lack.what}: {lack.consequence}", f"    {lack.fix}"]
        if len(self.packages) > 1:
            lines += ["All programs at once:", f"    {_install(*self.packages)}"]
        return "\n".join(lines)

    @property
    def packages(self) -> tuple[str, ...]:
        """Debian packages that would bring every missing program."""
        return tuple(sorted({lack.package for lack in self.lacks if lack.package is not None}))


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """How the sandbox's steps went: the word of the one that failed (None: none did)."""

    failed_step: str | None
    complaint: str


def check(environ: Mapping[str, str] = os.environ) -> Preflight:
    """Try everything. Takes a few hundredths of a second and leaves nothing behind."""
    lacks = list(_missing_programs(search_path(environ)))
    if not any(lack.essential for lack in lacks):
        steps = (
            _STEPS if any("iptables" in lack.what for lack in lacks) else (*_STEPS, _NFQUEUE_STEP)
        )
        trial = _try_sandbox(environ, steps)
        if trial.failed_step is not None:
            lacks.append(explain(trial, _read_setting, uid=os.geteuid()))
    return Preflight(lacks=tuple(lacks))


def explain(trial: Trial, setting: Callable[[str], str | None], *, uid: int) -> Lack:
    """Turn a failed step into advice. `setting` reads a file below /proc/sys, None if absent.

    Order: the most telling sign first. A kernel that forbids user namespaces says so; one that
    allows them and still refuses is a container's seccomp profile or AppArmor.
    """
    if trial.failed_step == _NFQUEUE_STEP[0]:
        return Lack(
            what=f"packets cannot be held: {trial.complaint}",
            consequence="the lab runs without distances, every round trip is near zero",
            fix="modprobe nfnetlink_queue xt_NFQUEUE    # as root, on the machine itself",
            essential=False,
        )
    place = "the sandbox" if trial.failed_step == "sandbox" else f"step {trial.failed_step!r}"
    return Lack(
        what=f"{place} is not permitted: {trial.complaint}",
        consequence="no network namespaces, no lab",
        fix=_advice(trial, setting, uid),
        essential=True,
    )


def _advice(trial: Trial, setting: Callable[[str], str | None], uid: int) -> str:
    if setting("user/max_user_namespaces") == "0":
        return "sysctl -w user.max_user_namespaces=15000    # as root"
    if setting("kernel/unprivileged_userns_clone") == "0" and uid != 0:
        return "sysctl -w kernel.unprivileged_userns_clone=1    # as root"
    if setting("kernel/apparmor_restrict_unprivileged_userns") == "1" and uid != 0:
        return "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0    # as root"
    if trial.failed_step == "sandbox":
        return _DOCKER_ADVICE
    if trial.failed_step in {"veth", "nft", "tbf", "pfifo"}:
        modules = {"veth": "veth", "nft": "nf_tables nft_reject_inet", "tbf": "sch_tbf"}
        return f"modprobe {modules.get(trial.failed_step, 'sch_fifo')}    # as root"
    return _DOCKER_ADVICE


def _install(*packages: str) -> str:
    return f"apt-get install --no-install-recommends {' '.join(packages)}    # as root"


def _missing_programs(path: str) -> list[Lack]:
    missing = [program for program in PROGRAMS if shutil.which(program.name, path=path) is None]
    return [
        Lack(
            what=f"{program.name} is not installed",
            consequence=f"needed for {program.needed_for}",
            fix=_install(program.package),
            essential=program.essential,
            package=program.package,
        )
        for program in missing
    ]


def _try_sandbox(environ: Mapping[str, str], steps: tuple[tuple[str, str], ...]) -> Trial:
    script = "\n".join(f"echo {word}; {{ {command}; }} || exit 1" for word, command in steps)
    try:
        tried = subprocess.run(
            [*SANDBOX, "sh", "-c", f"{script}\necho done"],
            env=sandbox_environment(environ),
            capture_output=True,
            text=True,
            timeout=_TRIAL_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Trial(failed_step="sandbox", complaint=f"no answer within {_TRIAL_S:g} s")
    words = tried.stdout.split()
    complaint = (tried.stderr.strip().splitlines() or ["no reason given"])[-1]
    if words and words[-1] == "done":
        return Trial(failed_step=None, complaint="")
    return Trial(failed_step=words[-1] if words else "sandbox", complaint=complaint)


def _read_setting(key: str) -> str | None:
    try:
        return Path("/proc/sys", key).read_text().strip()
    except OSError:
        return None
