"""Programs of others that look at the same fault, and what they are expected to say."""

from __future__ import annotations

from collections.abc import Mapping

from proto.model import Kind
from tests.lab.word_bench import NAME, TARGET, Bench, Row, Says

Words = str | Mapping[int, str]


def curl(exit_code: int, words: Words = "", *options: str) -> Says:
    """The same request; follows redirects when told to."""

    def argv(bench: Bench, row: Row) -> list[str]:
        use_tls = row.kind is Kind.TLS or row.fields.get("use_tls", row.kind is Kind.TCP)
        address = bench.address(TARGET, row.family)
        pinned = f"[{address}]" if row.family == 6 else address
        limit = str(row.fields.get("timeout_s", 2.5))
        command = [
            "curl",
            "-sSv",
            "--noproxy",
            "*",
            "-m",
            limit,
            "--cacert",
            str(bench.shop.ca_file),
        ]
        command += ["--resolve", f"{NAME}:{row.port}:{pinned}", *options]
        return [*command, f"{'https' if use_tls else 'http'}://{NAME}:{row.port}/"]

    return Says(tool=argv, exit_code=exit_code, words=words)


def starved_curl(exit_code: int, words: Words = "") -> Says:
    """Curl that may open no more files than it is born with and a pair for itself."""
    plain = curl(exit_code, words)
    return Says(
        tool=lambda bench, row: ["prlimit", "--nofile=5", *plain.tool(bench, row)],
        exit_code=exit_code,
        words=words,
    )


def openssl(words: Words, *, exit_code: int = 0) -> Says:
    """A handshake by openssl's own client, which says what it thinks of the certificate."""

    def argv(bench: Bench, row: Row) -> list[str]:
        address = bench.address(TARGET, row.family)
        place = f"[{address}]:{row.port}" if row.family == 6 else f"{address}:{row.port}"
        command = ["openssl", "s_client", "-brief", "-connect", place, "-servername", NAME]
        return [*command, "-verify_hostname", NAME, "-CAfile", str(bench.shop.ca_file)]

    return Says(tool=argv, exit_code=exit_code, words=words)


def ping(words: Words, *, exit_code: int = 1, count: int = 1) -> Says:
    """Echoes by iputils, which names the router and its reason in both families."""

    def argv(bench: Bench, row: Row) -> list[str]:
        address = bench.address(TARGET, row.family)
        return ["ping", f"-{row.family}", "-n", f"-c{count}", "-i0.2", "-W1", address]

    return Says(tool=argv, exit_code=exit_code, words=words)


def fping(words: Words = "100%", *, exit_code: int = 1) -> Says:
    """Three echoes by fping."""

    def argv(bench: Bench, row: Row) -> list[str]:
        address = bench.address(TARGET, row.family)
        return ["fping", f"-{row.family}", "-c3", "-p20", "-t600", address]

    return Says(tool=argv, exit_code=exit_code, words=words)


def mtr(words: Words) -> Says:
    """The first hops of the way by mtr."""

    def argv(bench: Bench, row: Row) -> list[str]:
        address = bench.address(TARGET, row.family)
        return ["mtr", f"-{row.family}", "-rnc1", "-i0.2", "-G0.5", "-Z1", "-m6", address]

    return Says(tool=argv, exit_code=0, words=words)


def dig(words: Words, *, exit_code: int = 0) -> Says:
    """The same question by BIND's client."""

    def argv(bench: Bench, row: Row) -> list[str]:
        server = bench.address(row.fields.get("server", "ns1"), row.family)
        qtype = str(row.fields.get("qtype", "A"))
        return ["dig", "+time=1", "+tries=1", f"@{server}", NAME, qtype]

    return Says(tool=argv, exit_code=exit_code, words=words)
