"""The operator's limits: what no plan can make this machine do.

The coordinator may be hostile or wrong; whoever hosts a probe sets these numbers in `probe.toml` and
they hold whatever a plan says. A refused slot is a row `not_run` with the reason `policy` (the rate
is forbidden) or `overloaded` (the machine has too much in flight), never silence.

Rates are token buckets with the time passed in: a bucket holds what a second (or a minute) allows,
so a burst can use that much at once and the long run never exceeds the rate.

A target has two spellings: the name in the plan, known before the slot starts, and the address that
the name led to, known after it was resolved. Each has a bucket of its own, for a plan may hold fifty
names of one address, and a server may redirect fifty probes' worth of slots to a third party.

What runs beside the schedule (`spare`) draws on the same buckets, but only while they would stay
half full: it can use what is left over and never what a slot is about to need.
"""

from __future__ import annotations

from typing import Final

from proto.charges import TRACE_WINDOW, contacts_of, target_of, trace_packets
from proto.model import Check, HostLimits, Kind, Plan, Reason

INTERVAL_MIN_S: Final = 0.2
"""No plan may ask for less: a quarter of the shortest interval that the lab uses."""

INTERVAL_MAX_S: Final = 86_400.0
"""A check less than daily is no series."""

PORT_MAX: Final = 65_535
"""A row of a slot that is not run names the port, too, and has no room for more."""

CHECKS_MAX: Final = 20_000
"""Checks in one plan: their heap and texts take 20 MB, which a 512 MB machine can spare."""

PACKETS_MAX: Final = 16
"""Echo requests in one slot: more is a load on the target, not a look at it. RIPE Atlas allows 16."""

TIMEOUT_MAX_S: Final = 60.0
"""Longer, and a silent target would hold its place among the running checks for minutes."""

BODY_CAP_MAX: Final = 1 << 20
"""Bytes of a body that are read: a page's beginning is enough to know it."""

REDIRECTS_MAX: Final = 10
"""Where browsers give up around twenty, a plan that knows its target needs few."""

HOPS_MAX: Final = 64
"""Routers on a way: the internet's longest are under 40."""

TRACE_PACKETS_MAX: Final = 192
"""Packets of one trace, `packets` times `max_hops`: three to each hop of the longest way."""

TRACES_MAX: Final = 4
"""Traces at once: routers near by see them all, and limit how many errors they send per second."""

CONFIRMATIONS_MAX: Final = 3
"""Further attempts after a failed one: a target in trouble is not to be asked more and more."""

CONFIRM_AFTER_MAX_S: Final = 300.0
"""Later than this an attempt confirms nothing of the one that failed."""

TEXT_MAX: Final = 2048
"""Characters in any one text of a check: a long path with its query."""

ITEMS_MAX: Final = 512
"""Entries in any one list of a check."""

FLUSH_MIN_S: Final = 0.05
"""Every flush is a write to the disk of whoever hosts this."""

PACE_MAX_S: Final = 3600.0
"""A report or a heartbeat that waits longer is as good as lost."""

TARGETS_MAX: Final = 50_000
"""Buckets kept at a time; full ones are forgotten first, since a new one starts full too."""


class Bucket:
    """Tokens that refill with time: `rate_per_s` in the long run, `size` at once."""

    __slots__ = ("_at_s", "_rate_per_s", "_size", "_tokens")

    def __init__(self, *, rate_per_s: float, size: float, now_s: float) -> None:
        self._rate_per_s = rate_per_s
        self._size = max(1.0, size)
        self._tokens = self._size
        self._at_s = now_s

    def has(self, *, now_s: float, spare: bool = False, tokens: int = 1) -> bool:
        """Whether so many can be taken now; `spare`: and leave it half full."""
        self._refill(now_s)
        kept = self._size / 2 if spare else 0.0
        # A hair below counts as enough: sums of floats may miss it by an ulp for ever.
        return self._tokens - kept >= tokens - 1e-9

    def take(self, *, tokens: int = 1) -> None:
        """Take as many as `has` saw."""
        self._tokens -= tokens

    def full(self, *, now_s: float) -> bool:
        """Whether it is as good as new."""
        self._refill(now_s)
        return self._tokens >= self._size

    def _refill(self, now_s: float) -> None:
        elapsed_s = max(0.0, now_s - self._at_s)
        self._tokens = min(self._size, self._tokens + elapsed_s * self._rate_per_s)
        self._at_s = max(self._at_s, now_s)


def uses_tls(check: Check) -> bool:
    """Whether a run costs a handshake."""
    return check.use_tls or check.kind is Kind.TLS


def echoes_of(check: Check) -> int:
    """Echo requests that a run may have outstanding."""
    if check.kind is Kind.TRACE and check.port is None:
        return min(TRACE_WINDOW, trace_packets(check))
    return check.packets if check.kind is Kind.ICMP else 0


class _Targets:
    """A bucket for each of many keys, made when it is first asked for."""

    __slots__ = ("_buckets", "_per_minute")

    def __init__(self, *, per_minute: float) -> None:
        self._per_minute = per_minute
        self._buckets: dict[str, Bucket] = {}

    def of(self, key: str, *, now_s: float) -> Bucket:
        """The bucket of a key."""
        bucket = self._buckets.get(key)
        if bucket is None:
            if len(self._buckets) >= TARGETS_MAX:
                self._buckets = {
                    old: kept for old, kept in self._buckets.items() if not kept.full(now_s=now_s)
                }
            rate_per_s = self._per_minute / 60
            bucket = Bucket(rate_per_s=rate_per_s, size=self._per_minute, now_s=now_s)
            self._buckets[key] = bucket
        return bucket


class Gate:
    """Lets slots start within the limits. `now_s` is monotonic."""

    __slots__ = (
        *("_addresses", "_echoes", "_limits", "_names", "_running", "_running_tls", "_total"),
        "_traces",
    )

    def __init__(self, limits: HostLimits, *, now_s: float) -> None:
        self._limits = limits
        self._running = 0
        self._running_tls = 0
        self._echoes = 0
        self._traces = 0
        # Apart, so that a literal, which is both, is not charged twice for one contact.
        self._names = _Targets(per_minute=limits.per_target_per_minute)
        self._addresses = _Targets(per_minute=limits.per_target_per_minute)
        rate = limits.checks_per_s
        self._total = Bucket(rate_per_s=rate, size=rate, now_s=now_s)

    @property
    def running(self) -> int:
        """Checks in flight."""
        return self._running

    @property
    def is_full(self) -> bool:
        """Whether there is no room for any check, whatever it does."""
        return self._running >= self._limits.concurrent

    def has_room(self, check: Check) -> bool:
        """Whether it may run beside what runs already; if not, the slot waits."""
        if self.is_full:
            return False
        if check.kind is Kind.TRACE and self._traces >= TRACES_MAX:
            return False
        if uses_tls(check):
            return self._running_tls < self._limits.concurrent_https
        # With none in flight any one may start, or a low limit would never let it run.
        echoes = echoes_of(check)
        crowded = self._echoes + echoes > self._limits.outstanding_icmp
        return not (crowded and echoes and self._echoes)

    def admit(self, check: Check, *, now_s: float, spare: bool = False) -> Reason | None:
        """None = counted as started; otherwise why the slot is refused, for good."""
        target = self._names.of(target_of(check), now_s=now_s)
        contacts = contacts_of(check)
        allowed = self._total.has(now_s=now_s, spare=spare)
        if not (allowed and target.has(now_s=now_s, spare=spare, tokens=contacts)):
            return Reason.POLICY
        self._total.take()
        target.take(tokens=contacts)
        self._running += 1
        self._running_tls += uses_tls(check)
        self._echoes += echoes_of(check)
        self._traces += check.kind is Kind.TRACE
        return None

    def admit_address(
        self, address: str, *, now_s: float, spare: bool = False, contacts: int = 1
    ) -> bool:
        """Whether an address may be contacted once more; if so, it is charged `contacts`.

        Asked for every contact of a slot: where its name led, and where a redirect leads on.
        `address` is in its canonical spelling.
        """
        bucket = self._addresses.of(address, now_s=now_s)
        allowed = bucket.has(now_s=now_s, spare=spare, tokens=contacts)
        if allowed:
            bucket.take(tokens=contacts)
        return allowed

    def finished(self, check: Check) -> None:
        """A check that was admitted has ended."""
        self._running -= 1
        self._running_tls -= uses_tls(check)
        self._echoes -= echoes_of(check)
        self._traces -= check.kind is Kind.TRACE


def is_replay(plan: Plan, *, in_force: Plan) -> bool:
    """Whether an old plan came again: older by its number and by its signed time of issue."""
    return plan.version < in_force.version and plan.issued_at_us < in_force.issued_at_us


ONCE_CHECKS_MAX: Final = 24
"""Checks that one request may bring: every kind of a target in both families, with its controls."""

ONCE_AGE_MAX_US: Final = 600 * 1_000_000
"""A request older than this, or from the future, is somebody's recording; clocks may be off by less."""


def plan_findings(plan: Plan) -> tuple[str, ...]:
    """Why a plan as a whole is refused; empty = it may run within the limits."""
    numbers = [check.check_no for check in plan.checks]
    findings = []
    if len(numbers) > CHECKS_MAX:
        findings.append(f"plan has {len(numbers)} checks; at most {CHECKS_MAX} are run")
    if len(set(numbers)) < len(numbers):
        findings.append("plan names a check_no twice; rows could not be told apart")
    known = set(numbers)
    findings.extend(
        f"check {check.check_id}: on_failure names a check that is not in the plan"
        for check in plan.checks
        if not known.issuperset(check.on_failure)
    )
    findings.extend(
        f"check {check.check_id}: {name} is {value:g}; {low:g} to {high:g} is run"
        for check in plan.checks
        for name, value, low, high in _bounds(check)
        if not low <= value <= high
    )
    findings.extend(
        f"check {check.check_id[:80]}: {name} has {size} characters or entries; {most} at most are taken"
        for check in plan.checks
        for name, size, most in _sizes(check)
        if size > most
    )
    findings.extend(
        f"plan: {name} is {value:g}; {low:g} to {PACE_MAX_S:g} is run"
        for name, value, low in (
            ("heartbeat_s", plan.heartbeat_s, 0.0),
            ("flush_s", plan.flush_s, FLUSH_MIN_S),
        )
        if not low <= value <= PACE_MAX_S
    )
    return tuple(findings)


def once_findings(plan: Plan, *, now_us: int) -> tuple[str, ...]:
    """Why checks that are to run once are refused; empty = they may, within the limits."""
    findings = list(plan_findings(plan))
    if len(plan.checks) > ONCE_CHECKS_MAX:
        findings.append(f"{len(plan.checks)} checks; at most {ONCE_CHECKS_MAX} are run at once")
    findings.extend(
        f"check {check.check_id[:80]}: {name} is set; a check that runs once has none"
        for check in plan.checks
        for name, value in (
            ("interval_s", check.interval_s),
            ("on_failure", check.on_failure),
            ("confirm_after_s", check.confirm_after_s),
        )
        if value
    )
    if abs(now_us - plan.issued_at_us) > ONCE_AGE_MAX_US:
        findings.append("it was issued at another time by this machine's clock")
    return tuple(findings)


_TEXTS: Final = (
    *("check_id", "host", "path", "method", "expect_body", "qtype", "server", "pinned", "sni"),
    "expect_sha256",
)
_LISTS: Final = ("expect_status", "expect_answers", "http_versions", "on_failure")


def _sizes(check: Check) -> tuple[tuple[str, int, int], ...]:
    """How long each text and list of a check is, and may be."""
    return (
        *((name, len(getattr(check, name) or ""), TEXT_MAX) for name in _TEXTS),
        *((name, len(getattr(check, name)), ITEMS_MAX) for name in _LISTS),
        *(
            (name, len(text), TEXT_MAX)
            for name in ("expect_answers", "http_versions")
            for text in getattr(check, name)
        ),
    )


def _bounds(check: Check) -> tuple[tuple[str, float, float, float], ...]:
    lowest_s = INTERVAL_MIN_S if check.interval_s else 0.0
    return (
        ("interval_s", check.interval_s, lowest_s, INTERVAL_MAX_S),
        ("port", check.port or 0, 0, PORT_MAX),
        ("max_hops", check.max_hops, 1, HOPS_MAX),
        *(
            (("packets times max_hops", trace_packets(check), 1, TRACE_PACKETS_MAX),)
            if check.kind is Kind.TRACE
            else ()
        ),
        ("the number of confirm_after_s", len(check.confirm_after_s), 0, CONFIRMATIONS_MAX),
        *(("confirm_after_s", after, 0.0, CONFIRM_AFTER_MAX_S) for after in check.confirm_after_s),
        ("timeout_s", check.timeout_s, 0.001, TIMEOUT_MAX_S),
        ("packets", check.packets, 0, PACKETS_MAX),
        ("body_cap_bytes", check.body_cap_bytes, 0, BODY_CAP_MAX),
        ("follow_redirects", check.follow_redirects, 0, REDIRECTS_MAX),
    )
