"""Everything that is served on the lab's internet, started on a ground and stopped again."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from deploy.lab import catalogue
from deploy.lab.catalogue import LIVE_MACHINE, LIVE_PORT, ZONES, Served
from deploy.lab.certificates import CertificateShop, open_shop
from deploy.lab.crowd import CrowdPlan, run_crowd
from deploy.lab.dns_resolver import Resolver, Upstream
from deploy.lab.dns_server import Authority, Listeners, serve
from deploy.lab.dns_zone import Zone, make_zone
from deploy.lab.faults.base import wall_clock_us
from deploy.lab.ground import Ground
from deploy.lab.live import LiveSettings, serve_live
from deploy.lab.services import Running, launch, listen_tcp, listen_udp, stop_all
from deploy.lab.topology import Part
from deploy.lab.web import Listen, Site, WebServer, start_web

#: 32 joins a second in all, of which the probes ask for a dozen: far from full on a quiet day. A full
#: accept queue makes a join wait one second: slow for near vantages, too slow for far ones.
LIVE: Final = LiveSettings(workers=8, service_s=0.25, accept_queue=32)
#: People who join on any day.
QUIET_JOINS_PER_S: Final = 2.0
DNS_BACKLOG: Final = 64


@dataclass(slots=True)
class Services:
    """What runs, by machine."""

    ground: Ground
    directory: Path
    shop: CertificateShop
    web: dict[str, WebServer] = field(default_factory=dict)
    names: dict[str, Running] = field(default_factory=dict)
    live: Running | None = None
    others: list[Running] = field(default_factory=list)
    _crowds: int = 0

    @property
    def slow_file(self) -> Path:
        """Holds the live back end's service time while it has a defect."""
        return self.directory / "live" / "slow"

    def fault_file(self, name_server: str) -> Path:
        """What the authoritative server on that machine does wrong."""
        return self.directory / name_server / "faults"

    def served(self, component: str) -> Served:
        return catalogue.by_name(self.ground.topology, component)

    def web_of(self, component: str) -> WebServer:
        """The nginx that serves a component."""
        return self.web[self.served(component).machine]

    def start_live(self) -> None:
        """Start the live back end, for the first time or after it was killed."""
        self.slow_file.parent.mkdir(parents=True, exist_ok=True)
        settings = LiveSettings(
            workers=LIVE.workers,
            service_s=LIVE.service_s,
            accept_queue=LIVE.accept_queue,
            slow_file=self.slow_file,
        )
        place = self.ground.place(LIVE_MACHINE)
        address = self.ground.addresses(LIVE_MACHINE)[0]
        listener = listen_tcp(place, address, LIVE_PORT, backlog=LIVE.accept_queue)
        log = self.directory / "live" / "log"
        self.live = launch(place, lambda: serve_live(listener, settings), name="live", log=log)
        listener.close()

    def start_crowd(self, machine: str, plan: CrowdPlan) -> tuple[Running, Path]:
        """Start clients of the live component on a machine; the process and its counts."""
        self._crowds += 1
        directory = self.directory / f"crowd-{self._crowds}"
        directory.mkdir()
        stats = directory / "counts.json"
        running = launch(
            self.ground.place(machine),
            lambda: run_crowd(plan, stats),
            name=f"crowd@{machine}",
            log=directory / "log",
        )
        return running, stats

    def crowd_plan(self, *, per_s: float, ramp_s: float, begin: float, seed: int) -> CrowdPlan:
        """A crowd for the live component that comes at `begin` (monotonic) and stays.

        It joins over plain HTTP, through the same web server to the same back end. Handshakes with
        TLS would cost both ends two milliseconds each on the cores that everything here shares, and
        then the machine would be what is overloaded, not the back end.
        """
        live = self.served(catalogue.LIVE_COMPONENT)
        return CrowdPlan(
            address=self.ground.addresses(live.machine)[0],
            port=self.ground.ports.http,
            host=live.domain,
            path=live.path,
            ca_file=None,
            quiet_per_s=0.0,
            crowd_per_s=per_s,
            start_at=begin,
            ramp_s=ramp_s,
            end_at=float("inf"),
            seed=seed,
        )

    def stop_web(self, machine: str) -> None:
        """Kill the machine's nginx: its ports are closed from then on."""
        self.web[machine].process.stop()

    def restart_web(self, machine: str) -> None:
        """Start the machine's nginx again, with good certificates."""
        served = catalogue.by_machine(self.ground.topology)[machine]
        self.web[machine] = _start_web(self, machine, served)

    def running(self) -> tuple[Running, ...]:
        """Every process, for stopping and for looking after."""
        live = () if self.live is None else (self.live,)
        web = (server.process for server in self.web.values())
        return (*web, *self.names.values(), *live, *self.others)

    def stop(self) -> None:
        stop_all(self.running())

    @staticmethod
    def send(running: Running, number: signal.Signals) -> None:
        """Signal a service and its workers: nginx answers from a child."""
        os.killpg(running.pid, number)


def start_services(ground: Ground, directory: Path, *, seed: int) -> Services:
    """Start all of it; on an error whatever had started is stopped again."""
    shop = open_shop(directory / "certificates", now_us=wall_clock_us())
    services = Services(ground, directory, shop)
    try:
        start_names(services, seed=seed)
        for machine, served in catalogue.by_machine(ground.topology).items():
            services.web[machine] = _start_web(services, machine, served)
        services.start_live()
        crowd = ground.topology.names(Part.CROWD)[0]
        plan = services.crowd_plan(per_s=QUIET_JOINS_PER_S, ramp_s=0, begin=0, seed=seed)
        services.others.append(services.start_crowd(crowd, plan)[0])
    except BaseException:
        services.stop()
        raise
    return services


def zones(ground: Ground) -> list[Zone]:
    """What the authoritative servers know: every name that is served, with all its addresses."""
    made = []
    authorities = ground.topology.names(Part.NAMESERVER)
    serving = [address for machine in authorities for address in ground.addresses(machine)]
    for apex in ZONES:
        served = [s for s in catalogue.everything(ground.topology) if s.domain.endswith("." + apex)]
        hosts = {s.domain: ground.addresses(s.machine) for s in served}
        made.append(make_zone(apex, {f"ns.{apex}": serving, **hosts}))
    return made


def _start_web(services: Services, machine: str, served: Sequence[Served]) -> WebServer:
    ground = services.ground
    backend = f"{ground.addresses(machine)[0]}:{LIVE_PORT}"
    sites = [
        Site(name=s.domain, path=s.path, backend=backend if s.is_live else None) for s in served
    ]
    listen = Listen(
        addresses=ground.addresses(machine), http=ground.ports.http, https=ground.ports.https
    )
    directory = services.directory / machine
    return start_web(ground.place(machine), directory, sites, listen=listen, shop=services.shop)


def start_names(services: Services, *, seed: int) -> None:
    """Start the authoritative servers and the resolvers."""
    ground, known = services.ground, zones(services.ground)
    authorities = ground.topology.names(Part.NAMESERVER)
    for machine in authorities:
        asked = Authority(known, services.fault_file(machine))
        services.names[machine] = _start_name_server(services, machine, asked)
    servers = [Upstream(ground.addresses(m)[0], ground.ports.dns) for m in authorities]
    for number, machine in enumerate(ground.topology.names(Part.RESOLVER)):
        resolver = Resolver({z.apex: servers for z in known}, random.Random(seed + number))
        services.names[machine] = _start_name_server(services, machine, resolver)


def _start_name_server(services: Services, machine: str, ask: Authority | Resolver) -> Running:
    ground, directory = services.ground, services.directory / machine
    directory.mkdir(parents=True, exist_ok=True)
    place, port = ground.place(machine), ground.ports.dns
    addresses = ground.addresses(machine)
    opened = Listeners(
        [listen_udp(place, address, port) for address in addresses],
        [listen_tcp(place, address, port, backlog=DNS_BACKLOG) for address in addresses],
    )
    log = directory / "log"
    recursive = isinstance(ask, Resolver)
    running = launch(
        place,
        lambda: serve(ask, opened, recursion_available=recursive),
        name=f"names@{machine}",
        log=log,
    )
    for sock in (*opened.udp, *opened.tcp):
        sock.close()
    return running
