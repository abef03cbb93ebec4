"""What goes wrong in services: the application, its certificates, its names. Each tells its truth.

| class | fault here |
|---|---|
| overload | `crowd` (the twin: the same from other places), `slow_live` (the defect twin) |
| application_component | `http_503` on one component, `live_dead` |
| application_service | `http_503` on all components |
| edge | `web_gone` |
| tls | `certificate` |
| dns | `names` |

Who is affected is stated from what was broken: every vantage, by the protocols that the fault breaks,
at the machine that serves the component. Nothing below the broken layer is touched, and that is the
point of most of them.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from deploy.lab.catalogue import LIVE_COMPONENT, LIVE_MACHINE, SUBJECTS
from deploy.lab.certificates import Flavour
from deploy.lab.dns_zone import DnsMode, Misbehaviour
from deploy.lab.faults.base import Affected, Fault, Outcome
from deploy.lab.services import stop_all
from deploy.lab.services_up import Services
from deploy.lab.topology import Part


def crowd(
    services: Services, *, per_s: float, ramp_s: float, machines: Sequence[str], seed: int
) -> Fault:
    """So many people a second come to join, from these machines, and stay until it is cleared."""

    @contextmanager
    def hold() -> Iterator[None]:
        begin, share = time.monotonic(), per_s / len(machines)
        running = []
        try:
            for number, machine in enumerate(machines):
                plan = services.crowd_plan(
                    per_s=share, ramp_s=ramp_s, begin=begin, seed=seed + 1 + number
                )
                running.append(services.start_crowd(machine, plan)[0])
            yield
        finally:
            stop_all(running)

    return Fault(
        verdict_class="overload",
        where=f"{LIVE_COMPONENT} on {LIVE_MACHINE}",
        mechanism=f"{per_s:g} more joins a second from {len(machines)} machines",
        hold=hold,
        affected=lambda: _affected(services, [LIVE_COMPONENT], Outcome.DEGRADED, ("http",)),
    )


def slow_live(services: Services, *, service_s: float) -> Fault:
    """A defect: each join takes so long, and the ordinary load is more than the back end can do."""

    @contextmanager
    def hold() -> Iterator[None]:
        services.slow_file.write_text(f"{service_s}\n")
        try:
            yield
        finally:
            services.slow_file.unlink()

    return Fault(
        verdict_class="overload",
        where=f"{LIVE_COMPONENT} on {LIVE_MACHINE}",
        mechanism=f"each join takes {service_s:g} s",
        hold=hold,
        affected=lambda: _affected(services, [LIVE_COMPONENT], Outcome.DEGRADED, ("http",)),
    )


def live_dead(services: Services) -> Fault:
    """The live back end is killed; the web server in front of it answers 502."""

    @contextmanager
    def hold() -> Iterator[None]:
        assert services.live is not None
        services.live.kill()
        try:
            yield
        finally:
            services.start_live()

    return Fault(
        verdict_class="application_component",
        where=f"{LIVE_COMPONENT} on {LIVE_MACHINE}",
        mechanism="back end killed",
        hold=hold,
        affected=lambda: _affected(services, [LIVE_COMPONENT], Outcome.UNREACHABLE, ("http",)),
    )


def http_503(services: Services, *, components: Sequence[str] = ()) -> Fault:
    """Components answer 503; none named = all of the platform's."""
    names = list(components) or [served.name for served in SUBJECTS]
    whole = len(names) == len(SUBJECTS)

    @contextmanager
    def hold() -> Iterator[None]:
        flags = [services.web_of(name).flag(services.served(name).domain) for name in names]
        for flag in flags:
            flag.touch()
        try:
            yield
        finally:
            for flag in flags:
                flag.unlink()

    return Fault(
        verdict_class="application_service" if whole else "application_component",
        where=", ".join(names),
        mechanism="answers 503",
        hold=hold,
        affected=lambda: _affected(services, names, Outcome.UNREACHABLE, ("http",)),
    )


def certificate(services: Services, *, component: str, flavour: str) -> Fault:
    """A component's certificate is exchanged for one that clients must refuse."""
    domain = services.served(component).domain

    @contextmanager
    def hold() -> Iterator[None]:
        server = services.web_of(component)
        before = server.certificate(domain)
        server.swap_certificate(domain, Flavour(flavour))
        try:
            yield
        finally:
            server.swap_certificate(domain, before)

    return Fault(
        verdict_class="tls",
        where=component,
        mechanism=f"certificate {flavour}",
        hold=hold,
        affected=lambda: _affected(services, [component], Outcome.UNREACHABLE, ("tls", "http")),
    )


def names(services: Services, *, mode: str, zone: str = "x.test", argument: str = "") -> Fault:
    """The authoritative servers misbehave for a zone; caches hide it until the TTL has passed."""
    fault = Misbehaviour(DnsMode(mode), zone, argument)

    @contextmanager
    def hold() -> Iterator[None]:
        servers = services.ground.topology.names(Part.NAMESERVER)
        files = [services.fault_file(server) for server in servers]
        for file in files:
            file.write_text(fault.line())
        try:
            yield
        finally:
            for file in files:
                file.unlink()

    hit = [served.name for served in SUBJECTS if fault.concerns(served.domain)]
    return Fault(
        verdict_class="dns",
        where=zone,
        mechanism=f"authoritative servers: {fault.line().strip()}",
        hold=hold,
        affected=lambda: _affected(services, hit, Outcome.UNREACHABLE, ("dns", "http")),
    )


def web_gone(services: Services, *, machine: str) -> Fault:
    """The web server of a machine is killed and its ports are closed: connections are refused."""
    hit = [served.name for served in SUBJECTS if served.machine == machine]

    @contextmanager
    def hold() -> Iterator[None]:
        services.stop_web(machine)
        try:
            yield
        finally:
            services.restart_web(machine)

    return Fault(
        verdict_class="edge",
        where=machine,
        mechanism="web server killed",
        hold=hold,
        affected=lambda: _affected(services, hit, Outcome.UNREACHABLE, ("tcp", "tls", "http")),
    )


def web_stopped(services: Services, *, machine: str) -> Fault:
    """The web server of a machine is stopped: the kernel still accepts, and nobody answers."""
    hit = [served.name for served in SUBJECTS if served.machine == machine]

    @contextmanager
    def hold() -> Iterator[None]:
        process = services.web[machine].process
        services.send(process, signal.SIGSTOP)
        try:
            yield
        finally:
            services.send(process, signal.SIGCONT)

    return Fault(
        verdict_class="application_component" if len(hit) == 1 else "application_service",
        where=machine,
        mechanism="web server stopped (SIGSTOP)",
        hold=hold,
        affected=lambda: _affected(services, hit, Outcome.UNREACHABLE, ("tls", "http")),
    )


def _affected(
    services: Services, components: Sequence[str], outcome: Outcome, protocols: Sequence[str]
) -> Iterable[Affected]:
    families = {6 if ":" in address else 4 for address in services.ground.addresses(LIVE_MACHINE)}
    return (
        Affected(
            vantage=vantage,
            machine=services.served(component).machine,
            protocol=protocol,
            family=family,
            outcome=outcome,
            component=component,
        )
        for vantage in services.ground.topology.vantages
        for component in components
        for protocol in protocols
        for family in families
    )
