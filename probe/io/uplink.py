"""Keeps a session with the coordinator: certificates, endpoints in turn, waiting in between.

A refused client certificate shows only as "Socket closed", like any cut network, so the probe looks
at its own certificate first: one that has ended is exchanged by proving its key, one past half its
life is renewed over the running session's door.
"""

from __future__ import annotations

import random
from typing import Final

import structlog
import trio

from probe.core import backoff
from probe.exits import ProbeError
from probe.io import link, seal
from probe.io.clock import utc
from probe.io.session import Ports, Session
from probe.io.state import Identity, StateDirectory

RENEWAL_LOOK_S: Final = 3600.0
"""A certificate lives a week at least, so an hour is soon."""

RENEW_TIMEOUT_S: Final = 15.0


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
    ) -> None:
        self._state = state
        self._identity = identity
        self._ports = ports
        self._base_s = base_s
        self._cap_s = cap_s
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
        life = seal.lifetime(self._identity.certificate_pem)
        if not life.begun(now):
            self._log.error(
                "certificate_not_yet_valid",
                begins_at=str(life.begins_at),
                clock=str(now),
                fix="this machine's clock is wrong: turn on time synchronisation",
            )
        if life.ended(now):
            self._log.warning("certificate_ended", ended_at=str(life.ends_at), clock=str(now))
            await trio.to_thread.run_sync(self._recover)
            self._identity = self._state.identity()
            self._log.info("certificate_recovered")

    def _recover(self) -> None:
        from probe.io import enrol  # noqa: PLC0415  # see probe.io.seal: megabytes, for once a year

        enrol.recover(self._state, self._identity, wall=self._ports.clocks.wall)

    async def _keep_certificate(self, endpoint: str) -> None:
        while True:
            life = seal.lifetime(self._identity.certificate_pem)
            if life.renewal_due(utc(self._ports.clocks.wall())):
                try:
                    await trio.to_thread.run_sync(self._renew, endpoint)
                except (link.LinkError, ProbeError) as error:
                    self._log.warning("certificate_not_renewed", cause=str(error))
                else:
                    self._log.info("certificate_renewed")
            await trio.sleep(RENEWAL_LOOK_S)

    def _renew(self, endpoint: str) -> None:
        from probe.io import renewal  # noqa: PLC0415  # as above, for once a week

        reply = link.renew(endpoint, self._identity, timeout_s=RENEW_TIMEOUT_S)
        renewal.take(
            self._state,
            self._identity,
            certificate_pem=reply.certificate_pem,
            ca_pem=reply.ca_pem,
        )
        self._identity = self._state.identity()
