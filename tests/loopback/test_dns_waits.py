"""How long a question waits, for which reply, and what counts as lost."""

from __future__ import annotations

import socket
import threading
from contextlib import ExitStack
from dataclasses import replace
from typing import cast

import pytest
import trio

from probe.core.endpoint import Endpoint
from probe.io.dnstalk import Conversation, hear, open_conversation, send
from proto.model import Failure
from tests.fakes.dns_server import Replies, dns_server, reply, says, silence
from tests.loopback.test_dns import GOOD, NOBODY, RECORD, answered, at, question, unanswered


async def test_each_of_three_resolvers_is_asked() -> None:
    """The third of resolv.conf answers though the first two are dead, and nothing counts as lost."""
    async with dns_server(GOOD) as server:
        found = await answered(NOBODY, replace(NOBODY, address="127.0.0.2"), at(server))
    assert (found.server, found.tries, found.retransmits) == (at(server), 3, 0)


async def test_an_unwelcome_answer_is_no_loss() -> None:
    """The next resolver is asked after SERVFAIL, but no query was repeated after silence."""
    async with dns_server(says(rcode=2)) as broken, dns_server(GOOD) as server:
        found = await answered(at(broken), at(server))
    assert (found.tries, found.retransmits) == (2, 0)


async def test_the_wait_for_an_answer_counts_from_the_first_query() -> None:
    """The round trip is that of the answered try, the wait holds the lost one too."""

    def second(query: bytes, number: int) -> Replies:
        return [reply(query, RECORD)] if number > 1 else []

    async with dns_server(second) as server:
        found = await answered(at(server), timeout_s=0.5)
    assert found.retransmits == 1
    assert found.rtt_us < 190_000 < found.waited_us


async def test_a_refusal_names_the_server_that_it_is_about() -> None:
    """The error of the first resolver is told, so the first is named though the second was silent."""
    async with dns_server(silence) as silent:
        found = await unanswered(NOBODY, at(silent), timeout_s=0.3)
    assert (found.failure, found.server) == (Failure.REFUSED, NOBODY)


@pytest.mark.parametrize("is_cut", [False, True])
async def test_a_guess_without_the_question_does_not_end_the_wait(is_cut: bool) -> None:
    """Bytes that only share the identifier are passed over when the real reply follows."""

    def guessed(query: bytes, _number: int) -> Replies:
        header = query[:2] + (b"\x81" if is_cut else b"\x81\x83" + bytes(8))
        return [header, reply(query, RECORD)]

    async with dns_server(guessed) as server:
        found = await answered(at(server))
    assert (found.reply.rcode, found.reply.values, found.tries) == (0, ("192.0.2.1",), 1)


async def test_a_complaint_without_the_question_counts_where_nothing_better_comes() -> None:
    """A server that could not read the question is heard at the end of the wait."""

    def complaint(query: bytes, _number: int) -> Replies:
        return [query[:2] + b"\x81\x85" + bytes(8)]

    async with dns_server(complaint) as server:
        found = await answered(at(server), timeout_s=0.3)
    assert found.reply.rcode == 5


async def test_an_answer_after_the_deadline_is_none_though_the_loop_was_late() -> None:
    """The kernel's stamp decides, not the moment in which our loop came to look."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        asked = question(timeout_s=0.05)
        endpoint = Endpoint(*server.getsockname())
        with ExitStack() as stack:
            talk = open_conversation(endpoint, asked, stack)
            send(talk, asked, edns=True)
            query, client = server.recvfrom(4096)
            threading.Event().wait(0.1)  # the loop stands still
            server.sendto(reply(query, RECORD), client)
            heard = await hear(talk, asked.deadline, deadline=asked.deadline)
    assert heard.reply is None
    assert heard.trouble is not None
    assert heard.trouble.failure is Failure.DNS_TIMEOUT


class Endless:
    """A socket to a server that sends strangers' datagrams without a pause."""

    def __init__(self, readable: socket.socket) -> None:
        self._readable = readable

    def fileno(self) -> int:
        """Always readable."""
        return self._readable.fileno()

    def recvmsg(self, *_sizes: int) -> tuple[bytes, list[object], int, None]:
        """There is always one more."""
        return b"\0" * 12, [], 0, None


async def test_a_flood_of_datagrams_ends_at_the_deadline_and_stops_nobody_else() -> None:
    """However fast a server sends, other checks have their turns and this one has its end."""
    turns = 0

    async def another() -> None:
        nonlocal turns
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    near, far = socket.socketpair()
    with near, far:
        far.send(b"x")
        conversation = Conversation(server=NOBODY, sock=cast(socket.socket, Endless(near)))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(another)
            until = trio.current_time() + 0.05
            heard = await hear(conversation, until, deadline=until)
            nursery.cancel_scope.cancel()
    assert heard.trouble is not None
    assert heard.trouble.failure is Failure.DNS_TIMEOUT
    assert "passed over" in heard.detail
    assert turns > 1
