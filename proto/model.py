"""The vocabulary as enums and frozen values: standard library only, no logic.

One word, one meaning (docs/ontology.md). `None` means not known; 0 means zero. Stamps are
`*_at_us`: microseconds since 1970-01-01 UTC by the wall clock of whoever took them. Durations carry
their unit and come from the monotonic or the kernel's clock, never from two wall-clock readings.

Errors raised across package borders:

    SoundingsError
    ├── ConfigError      one or more findings in a file that a person wrote
    └── WireError        bytes from another program that do not say what they must
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum


class SoundingsError(Exception):
    """Root of the errors that someone catches."""


class ConfigError(SoundingsError):
    """What is wrong in a file that a person wrote: every finding at once.

    Each finding reads `FILE: KEY is VALUE; FIX`.
    """

    def __init__(self, findings: tuple[str, ...]) -> None:
        super().__init__("\n".join(findings))
        self.findings = findings


class WireError(SoundingsError):
    """A message that parses but contradicts itself or the contract; the text is the reason."""


class Kind(StrEnum):
    """What a check does. The order is the wire's order: only ever append."""

    ICMP = "icmp"
    TCP = "tcp"
    HTTP = "http"
    DNS = "dns"
    TLS = "tls"
    TRACE = "trace"


class Control(StrEnum):
    """How a check departs from what a user does, to tell where a failure sits (method: C6 to C10).

    Rows of controls are facts beside the component's own: they are never counted in its cells.
    """

    REMEMBERED = "remembered"  # an address that the name had in the last 24 h, not resolved now
    PUBLIC_RESOLVER = "public_resolver"  # the question put to a named public resolver
    AUTHORITATIVE = "authoritative"  # the question put to a name server of the zone itself
    NEUTRAL_SNI = "neutral_sni"  # the same address under a name that nobody blocks
    SECOND_PORT = "second_port"  # another port of the same address


class Trigger(StrEnum):
    """What made a row. Only scheduled rows are evidence: others come more often when things fail."""

    SCHEDULE = "schedule"
    CONFIRMATION = "confirmation"  # a scheduled attempt failed: tried again some seconds later
    FAILURE = "failure"  # a scheduled attempt of another check failed
    REQUEST = "request"  # the coordinator asked for it


class Role(StrEnum):
    """What a target is for the service under judgement (method: controls C1 to C5)."""

    SUBJECT = "subject"
    SIBLING = "sibling"
    NEIGHBOUR = "neighbour"
    SAME_AS = "same_as"
    CDN_PEER = "cdn_peer"
    ANCHOR = "anchor"


class State(StrEnum):
    """How a slot ended. A slot that never came is no row: the view `ledger` derives `unreported`."""

    MEASURED = "measured"
    NOT_RUN = "not_run"


class Reason(StrEnum):
    """Why a slot was not run."""

    OVERLOADED = "overloaded"
    POLICY = "policy"
    UNSUPPORTED = "unsupported"
    STOPPED = "stopped"


class Validity(StrEnum):
    """Is the row fit for use? A separate axis, never a state of the network."""

    OK = "ok"
    CLOCK_SUSPECT = "clock_suspect"  # the wall clock stepped or was further off than its bound
    LATE_START = "late_start"  # started more than half an interval after its slot
    PROBE_FAULT = "probe_fault"  # a local_* failure: says nothing about the target


class Operation(StrEnum):
    """The step that failed. A step not reached was not attempted, never failed."""

    RESOLVE = "resolve"
    CONNECT = "connect"
    TLS = "tls"
    REQUEST = "request"
    REPLY = "reply"
    ECHO = "echo"
    HOP = "hop"


class Failure(StrEnum):
    """The closed vocabulary of how a step failed: the layer is in the prefix."""

    TIMEOUT = "timeout"
    REFUSED = "refused"
    REJECTED = "rejected"
    RESET = "reset"
    NET_UNREACHABLE = "net_unreachable"
    HOST_UNREACHABLE = "host_unreachable"
    PROHIBITED = "prohibited"
    TTL_EXCEEDED = "ttl_exceeded"
    LOOP = "loop"
    DNS_NXDOMAIN = "dns_nxdomain"
    DNS_NODATA = "dns_nodata"
    DNS_SERVFAIL = "dns_servfail"
    DNS_REFUSED = "dns_refused"
    DNS_MALFORMED = "dns_malformed"
    DNS_TIMEOUT = "dns_timeout"
    DNS_MISMATCH = "dns_mismatch"
    TLS_ALERT = "tls_alert"
    TLS_EXPIRED = "tls_expired"
    TLS_NOT_YET_VALID = "tls_not_yet_valid"
    TLS_NAME_MISMATCH = "tls_name_mismatch"
    TLS_UNTRUSTED = "tls_untrusted"
    TLS_PROTOCOL = "tls_protocol"
    HTTP_STATUS = "http_status"
    HTTP_CONTENT = "http_content"
    HTTP_MALFORMED = "http_malformed"
    HTTP_TRUNCATED = "http_truncated"
    HTTP_REDIRECT = "http_redirect"
    LOCAL_NO_ROUTE = "local_no_route"
    LOCAL_NO_PORT = "local_no_port"
    LOCAL_NO_BUFFER = "local_no_buffer"
    LOCAL_DENIED = "local_denied"
    LOCAL_NO_FAMILY = "local_no_family"
    LOCAL_OVERLOAD = "local_overload"
    UNKNOWN = "unknown"

    @property
    def is_local(self) -> bool:
        """A `local_*` failure never counts against a target."""
        return self.value.startswith("local_")


class StampSource(StrEnum):
    """Which clock the times of a row rest on."""

    KERNEL = "kernel"  # receive stamp by the kernel, send time read right before the send
    TCP_INFO = "tcp_info"  # the kernel's own round trip of the handshake
    COARSE = "coarse"  # a SYN was sent again: the kernel's figure is millisecond-grained
    USER = "user"  # the process's clock: suspect under load
    KERNEL_BOTH = "kernel_both"  # sent and received stamped by the kernel


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """A recurring definition: what to measure, how often, and what a good answer is.

    `check_no` is the coordinator's number for it, stable over plan versions: it is what rows carry
    on the wire. `host` is a name or an address literal; `path` belongs to http. A check whose
    `interval_s` is 0 has no slots: it runs when another check fails or the coordinator asks.
    """

    check_no: int
    check_id: str
    kind: Kind
    host: str
    port: int | None = None
    family: int = 4  # 4 or 6
    interval_s: float = 30.0
    timeout_s: float = 5.0
    packets: int = 3  # icmp: echo requests per slot
    use_tls: bool = False  # http: https
    path: str = "/"
    method: str = "GET"
    expect_status: tuple[int, ...] = (200,)
    expect_body: str | None = None  # text that a good body contains
    body_cap_bytes: int = 65536
    qtype: str = "A"  # dns: A, AAAA, NS, CNAME, SOA, TXT
    server: str | None = None  # dns: ask this address directly; None = the vantage's resolvers
    expect_answers: tuple[str, ...] = ()  # dns: networks that an address must lie in
    pinned: str | None = None  # contact this address instead of resolving `host`
    follow_redirects: int = 0  # http: hops allowed, each resolved and judged by the address policy
    control: Control | None = None  # None: what a user does
    sni: str | None = None  # tls, http: the name to say instead of `host` (and as Host)
    http_versions: tuple[str, ...] = ("1.1",)  # http over TLS: offered by ALPN, best first
    expect_sha256: str | None = None  # http: hex that the hash of the body begins with
    max_hops: int = 30  # trace
    on_failure: tuple[int, ...] = ()  # check_nos to run when a scheduled attempt of this one fails
    confirm_after_s: tuple[float, ...] = ()  # further attempts, so long after a scheduled failure


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The versioned set of checks of one probe."""

    version: int
    checks: tuple[Check, ...]
    issued_at_us: int = 0
    heartbeat_s: float = 15.0
    flush_s: float = 5.0  # a report leaves after this time or `flush_rows`, whichever is first
    flush_rows: int = 200
    user_agent: str = "soundings-probe"


@dataclass(frozen=True, slots=True, kw_only=True)
class Hop:
    """What came back for one packet of a trace, or that nothing did (`router` is None)."""

    ttl: int
    packet: int  # from 0, within one ttl
    router: str | None = None
    rtt_us: int | None = None
    icmp_type: int | None = None  # None with a router: an answer that is no ICMP error
    icmp_code: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One slot of one check: a fact. Mirrors the table `results` but for what the coordinator knows.

    `sent`/`lost` count attempts (packets or connections). A row that failed has `operation` and
    `failure`; a good one has neither. With 0 < lost < sent and no failure the loss was partial.
    """

    check_no: int
    slot_at_us: int
    started_at_us: int | None  # None when not run
    state: State
    reason: Reason | None = None
    address: str | None = None
    port: int | None = None
    family: int = 4
    operation: Operation | None = None
    failure: Failure | None = None
    sent: int = 0
    lost: int = 0
    duplicates: int | None = None
    late: int | None = None  # of the lost ones: answered within a second after the deadline
    retransmits: int | None = None
    rtt_us_min: int | None = None
    rtt_us_median: int | None = None
    rtt_us_max: int | None = None
    resolve_us: int | None = None
    connect_us: int | None = None
    tls_us: int | None = None
    first_byte_us: int | None = None
    total_us: int | None = None
    stamp_source: StampSource | None = None
    http_status: int | None = None
    http_version: str | None = None  # "1.0", "1.1", "2"
    body_bytes: int | None = None
    body_sha256: str | None = None  # hex, of the first body_cap_bytes
    location: str | None = None
    cert_sha256: str | None = None  # hex, of the leaf as DER
    cert_verify: int | None = None  # 0 = good; else the X509 verification code (10 expired ...)
    tls_version: str | None = None  # "TLSv1.3"
    dns_rcode: int | None = None
    dns_ttl_s: int | None = None
    answers: str | None = None  # all addresses or records, sorted, separated by a space
    router: str | None = None  # who sent the ICMP error
    icmp_type: int | None = None
    icmp_code: int | None = None
    edge: str | None = None  # PoP key from headers
    lateness_us: int | None = None  # start minus when it fell due
    clock_offset_us: int | None = None  # coordinator minus probe, as last estimated
    clock_error_us: int | None = None  # half the delay: the bound of that estimate
    validity: Validity = Validity.OK
    trigger: Trigger = Trigger.SCHEDULE
    page: str | None = None  # a known page that is not the service's own: "challenge", "block"
    dns_flags: str | None = None  # as dig prints them: "aa tc rd ra ad", and "tcp" when by TCP
    clock_synchronised: bool | None = None  # None: the kernel would not say
    hops: tuple[Hop, ...] = ()  # trace: in the order of ttl and packet


@dataclass(frozen=True, slots=True)
class Certificate:
    """A leaf certificate, sent once per fingerprint; the coordinator parses it."""

    sha256: str  # hex
    der: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Report:
    """A batch of results as sent; `(probe, epoch, seq)` names it for ever."""

    results: tuple[Result, ...]
    certificates: tuple[Certificate, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class HostLimits:
    """What the host of a probe allows whatever a plan says: section [limits] of probe.toml."""

    checks_per_s: float = 50.0
    per_target_per_minute: float = 60.0
    concurrent: int = 200
    concurrent_https: int = 64  # handshakes cost 1 ms of CPU each and would bunch up
    outstanding_icmp: int = 5000  # 3.9 kB each; 65,536 is what the sequence number can tell apart


@dataclass(frozen=True, slots=True, kw_only=True)
class Heartbeat:
    """What a probe says of itself; None = it did not say."""

    sent_at_us: int
    plan_version: int  # 0 = it follows none
    uptime_s: float | None
    rss_bytes: int | None
    cpu_s: float | None
    spool_bytes: int | None
    spool_rows: int | None
    evicted_rows: int | None
    queue_depth: int | None
    lateness_us_p99: int | None
    receive_drops: int | None  # ICMP replies the kernel dropped for want of buffer
    clock_synchronised: bool | None  # None: the kernel would not say
    plan_since_us: int | None  # the first instant whose slots are this plan's; None: no plan yet
    overloaded_slots: int | None  # given up since the start because this probe was too busy
    clock_drift_ppb: int | None  # how much the wall clock gains on the coordinator's; None: unknown
    translated: bool | None = (
        None  # the coordinator sees another address than it sends from; None: unknown
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Hello:
    """First message of a session."""

    boot_id: str
    version: str
    epoch: int
    next_seq: int
    backlog_rows: int | None  # None = it did not say
    evicted_rows: int | None
    plan_version: int  # 0 = it follows none
    families: tuple[int, ...]
    capabilities: tuple[str, ...]  # icmp4, icmp4_raw, rx_stamps, tx_stamps, ...
    plan_since_us: int | None  # as in Heartbeat
    limits: HostLimits | None = None  # None: it did not say
