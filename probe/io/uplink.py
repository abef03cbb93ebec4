"""Keeps a session with the coordinator: certificates, endpoints in turn, waiting in between.

A refused client certificate shows only as a closed connection, like any cut network, so the probe looks
at its own certificate first: one that has ended is exchanged by proving its key, one past half its
life is renewed at the running session's door, each by a process of its own (probe.io.recertify).
"""

from __future__ import annotations

import random
import sys
from typing import Final

import structlog
import trio

from probe.core import backoff
from probe.exits import Exit, ProbeError
from probe.io import link, seal
from probe.io.clock import utc
from probe.io.session import Ports, Session
from probe.io.state import Identity, StateDirectory

RENEWAL_LOOK_S: Final = 3600.0
"""A certificate lives a week at least, so an hour is soon."""

RECERTIFY_S: Final = 60.0
"""For the process that does it: two starts of Python and its question, on a slow machine."""


class Uplink:
    """The reconnect loop."""

    def __init__(
        self,
        state: StateDirectory,
        identity: Identity,
        ports: Ports,
        *,
        base_s: float,
        cap_s: float,
        python: str = sys.executable,
    ) -> None:
        self._state = state
        self._identity = identity
        self._ports = ports
        self._base_s = base_s
        self._cap_s = cap_s
        self._python = python
        self._attempt = 0
        self._log = structlog.get_logger("uplink")

    async def run(self) -> None:
        """Until cancelled."""
        failures = 0
        while True:
            started_s = trio.current_time()
            welcomed, error = await self._once()
            failures = 1 if welcomed else failures + 1
            wait_s = self._wait_s(failures, error.retry_after_s)
            self._log.warning(
                "session_ended",
                cause=str(error),
                lasted_s=round(trio.current_time() - started_s, 1),
                retry_in_s=round(wait_s, 1),
            )
            await trio.sleep(wait_s)

    def _wait_s(self, failures: int, retry_after_s: float | None) -> float:
        if retry_after_s is not None:
            return backoff.told_delay_s(retry_after_s, chance=random.random())
        return backoff.delay_s(
            failures, base_s=self._base_s, cap_s=self._cap_s, chance=random.random()
        )

    async def _once(self) -> tuple[bool, link.LinkError]:
        """One session; whether it was welcomed, and why it ended."""
        endpoints = self._identity.endpoint.fleet
        endpoint = endpoints[self._attempt % len(endpoints)]
        self._attempt += 1
        try:
            await self._refresh()
        except ProbeError as error:
            return False, link.LinkError(str(error))
        async with link.open_stream(endpoint, self._identity) as stream:
            session = Session(stream, self._ports)
            self._log.info("session_opening", endpoint=endpoint)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._keep_certificate, endpoint)
                ended = await session.run()
                nursery.cancel_scope.cancel()
            return session.welcomed, ended

    async def _refresh(self) -> None:
        """Before connecting: a certificate that has ended is refused without a word."""
        now = utc(self._ports.clocks.wall())
        life = self._life()
        if not life.begun(now):
            self._log.error(
                "certificate_not_yet_valid",
                begins_at=str(life.begins_at),
                clock=str(now),
                fix="this machine's clock is wrong: turn on time synchronisation",
            )
        if life.ended(now):
            self._log.warning("certificate_ended", ended_at=str(life.ends_at), clock=str(now))
            await self._recertify("recover", str(self._ports.clocks.wall()))
            self._log.info("certificate_recovered")

    async def _keep_certificate(self, endpoint: str) -> None:
        while True:
            if self._life().renewal_due(utc(self._ports.clocks.wall())):
                try:
                    await self._recertify("renew", endpoint)
                except ProbeError as error:
                    self._log.warning("certificate_not_renewed", cause=str(error))
                else:
                    self._log.info("certificate_renewed")
            await trio.sleep(RENEWAL_LOOK_S)

    def _life(self) -> seal.Lifetime:
        try:
            return seal.lifetime(self._identity.certificate_pem)
        except ValueError as error:
            raise ProbeError(
                f"{self._identity.certificate_file}: {error}; put the file back, or enrol again",
                code=Exit.STATE_UNUSABLE,
            ) from error

    async def _recertify(self, verb: str, word: str) -> None:
        """Have it done by a process that takes its megabytes along when it goes.

        Raises ProbeError. What a cancelled one left on disk is whole: see probe.io.renewal.
        """
        words = (self._python, "-P", "-m", "probe.io.recertify", verb, self._state.path, word)
        with trio.move_on_after(RECERTIFY_S):
            try:
                done = await trio.run_process(
                    words, check=False, capture_stderr=True, capture_stdout=True
                )
            except OSError as error:  # no memory or no room for another process
                why = f"no process could be started for it ({error.strerror or error})"
                raise ProbeError(why, code=Exit.UNREACHABLE) from error
            if done.returncode:
                said = done.stderr.decode("utf-8", "replace").strip().splitlines()
                why = said[-1] if said else f"it ended with code {done.returncode}"
                raise ProbeError(why, code=Exit.UNREACHABLE)
            self._identity = self._state.identity()
            return
        raise ProbeError(f"no new certificate within {RECERTIFY_S:g} s", code=Exit.UNREACHABLE)
