"""The plan in force: verified, kept on disk, applied while running.

A plan that is not signed by the pinned CA, is signed for another probe, does not parse, or asks for
what no plan may ask is refused whole, with its reason in the log, and the one in force goes on. So is
one that is older than that by its number and by its time of issue: somebody sends an old plan again.
Older by one of them is taken: a coordinator restored from a backup counts anew, and one whose clock
was repaired goes back.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import structlog
import trio
from google.protobuf.message import DecodeError

from probe.core.limits import is_replay, once_findings, plan_findings
from probe.exits import ProbeError
from probe.io import seal
from probe.io.state import StateDirectory
from proto.codec import plan_from_wire, plan_seal
from proto.gen import plan_pb2
from proto.model import Check, Plan, WireError

FILE: Final = "plan.bin"
NO_PLAN: Final = Plan(version=0, checks=())


def opened(
    signed: plan_pb2.SignedPlan, state: StateDirectory, *, probe_id: str, once: bool = False
) -> Plan:
    """What a CA of `ca.pem` signed for this probe, as a plan or to run `once`.

    Raises:
        WireError: nothing of the kind; the text is the reason.
    """
    # Read each time: a renewal may have brought the next authority in the meantime.
    ca_pem = state.read("ca.pem") or b""
    sealed = plan_seal(signed.plan, probe_id=signed.probe_id, once=once)
    if not seal.is_signed(sealed, signed.signature, ca_pem=ca_pem):
        raise WireError("its signature is not by a CA of ca.pem")
    if signed.probe_id != probe_id:
        raise WireError(f"it is signed for probe {signed.probe_id!r}; this one is {probe_id!r}")
    return plan_from_wire(signed.plan)


def stored_plan(state: StateDirectory, *, probe_id: str) -> Plan | None:
    """The plan on disk, without following it; None = there is none. Raises WireError with the reason."""
    stored = state.read(FILE)
    if stored is None:
        return None
    signed = plan_pb2.SignedPlan()
    try:
        signed.ParseFromString(stored)
    except DecodeError:
        raise WireError(f"{FILE} is damaged") from None
    return opened(signed, state, probe_id=probe_id)


class PlanBook:
    """Holds the plan in force; `follow` is called with every new one and tells since when it holds."""

    def __init__(
        self, state: StateDirectory, *, probe_id: str, follow: Callable[[Plan], int]
    ) -> None:
        self._state = state
        self._probe_id = probe_id
        self._follow = follow
        self._log = structlog.get_logger("plan")
        self._kept = b""
        self._last_once = 0
        self.plan = NO_PLAN
        self.since_us: int | None = None  # the first instant whose slots are this plan's

    def restore(self) -> None:
        """Follow the stored plan, so that measuring goes on while the coordinator is away."""
        stored = self._state.read(FILE)
        if stored is None:
            self._log.info("plan_none", fix="it comes with the first session")
            return
        signed = plan_pb2.SignedPlan()
        try:
            signed.ParseFromString(stored)
        except DecodeError:
            self._log.error("plan_file_damaged", file=FILE, fix="none needed: a session brings it")
            return
        self._kept = stored
        self._take(signed, source="disk")

    async def adopt(self, signed: plan_pb2.SignedPlan) -> None:
        """A plan from the coordinator: follow it, then keep it."""
        content = signed.SerializeToString()
        if self._take(signed, source="coordinator") and content != self._kept:
            try:
                await trio.to_thread.run_sync(self._state.write, FILE, content)
                self._kept = content
            except ProbeError as error:
                self._log.error("plan_not_kept", cause=str(error))  # no trace needed

    def once(self, signed: plan_pb2.SignedPlan, *, now_us: int) -> tuple[Check, ...]:
        """The checks that are to run once; none of a request that is refused, which the log says.

        A request is taken once: its number is above that of every one before it.
        """
        plan = self._opened(signed, source="request", once=True)
        if plan is None:
            return ()
        findings = list(once_findings(plan, now_us=now_us))
        if plan.version <= self._last_once:
            findings.append(f"request {plan.version} came before")
        if findings:
            self._refuse("request", "; ".join(findings[:5]))
            return ()
        self._last_once = plan.version
        self._log.info("request_taken", number=plan.version, checks=len(plan.checks))
        return plan.checks

    def _take(self, signed: plan_pb2.SignedPlan, *, source: str) -> bool:
        plan = self._opened(signed, source=source)
        if plan is None:
            return False
        if is_replay(plan, in_force=self.plan):
            return self._refuse(
                source, f"version {plan.version} was issued before the one in force"
            )
        findings = plan_findings(plan)
        if findings:
            return self._refuse(source, "; ".join(findings[:5]))
        since_us = self._follow(plan)
        if self.since_us is None or plan.version != self.plan.version:
            self.since_us = since_us
        self.plan = plan
        self._log.info(
            "plan_followed", version=plan.version, checks=len(plan.checks), source=source
        )
        return True

    def _opened(
        self, signed: plan_pb2.SignedPlan, *, source: str, once: bool = False
    ) -> Plan | None:
        """What a message holds where it is signed for this probe; None = refused."""
        try:
            return opened(signed, self._state, probe_id=self._probe_id, once=once)
        except WireError as error:
            self._refuse(source, str(error))
            return None

    def _refuse(self, source: str, reason: str) -> bool:
        self._log.error("plan_refused", source=source, reason=reason, in_force=self.plan.version)
        return False
