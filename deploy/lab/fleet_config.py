"""The configuration files of the lab's fleet: one soundings.toml, and a probe.toml per vantage."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from deploy.lab import catalogue
from deploy.lab.catalogue import SERVICE, Served
from deploy.lab.ground import Ground
from deploy.lab.scenario import Scenario
from deploy.lab.topology import Part

#: The lab asks its own machines every second or two; the polite default would be twice a minute.
PER_TARGET_PER_MINUTE: Final = 600
#: A probe that lost its coordinator comes back within seconds: a demo has no minutes to wait.
BACKOFF: Final = {"backoff_base_s": 0.25, "backoff_cap_s": 1.0, "reply_deadline_s": 3.0}
#: Two dozen probes on one machine that all look into one failure at once would slow it down.
NOT_FOLLOWED_UP: Final = {"trace": False, "remembered": False, "confirm_after_s": []}
REVISED_S: Final = 8
FINAL_S: Final = 600


def write_coordinator_config(ground: Ground, scenario: Scenario, path: Path) -> None:
    """Write soundings.toml for the scenario on this ground."""
    ports = ground.ports
    address = ground.addresses(ground.topology.names(Part.COORDINATOR)[0])[0]
    lines = [
        *_table(
            "[coordinator]",
            {
                "name": "lab",
                "fleet": f"{address}:{ports.fleet}",
                "enrol": f"{address}:{ports.enrol}",
                "web": f"{address}:{ports.web}",
                "names": [address],
                "contact": "https://lab.test/probes",
            },
        ),
        *_table(
            "[judging]",
            {
                "bin_s": scenario.bin_s,
                "provisional_s": scenario.provisional_s,
                "revised_s": REVISED_S,
                "final_s": FINAL_S,
            },
        ),
        *_table(
            "[defaults]",
            {
                "interval_s": scenario.interval_s,
                "timeout_s": scenario.interval_s,
                "packets": 1,
                "families": [4],
            },
        ),
        *_table("[limits]", {"per_target_per_minute": PER_TARGET_PER_MINUTE, "free_mib": 0}),
        *_table("[[service]]", {"name": SERVICE, "title": "X"}),
    ]
    for served in catalogue.everything(ground.topology):
        anchor = served.role == "anchor"
        head = "[[anchor]]" if anchor else "[[service.component]]"
        lines += _table(head, _component(ground, served, scenario))
    path.write_text("\n".join(lines))


def _component(ground: Ground, served: Served, scenario: Scenario) -> dict[str, Any]:
    machine = ground.topology.machine(served.machine)
    values: dict[str, Any] = {
        "name": served.name,
        "url": _url(ground, served),
        "kinds": list(served.kinds),
        "expect_body": "ok",
        "interval_s": scenario.interval_s * served.share,
        "asn": machine.asn,
        "prefix": ground.topology.prefix_of(served.machine),
    }
    if served.name not in scenario.followed_up:
        values |= NOT_FOLLOWED_UP
    return values if served.role == "anchor" else {**values, "role": served.role}


def _url(ground: Ground, served: Served) -> str:
    scheme = "https" if served.tls else "http"
    port = ground.ports.https if served.tls else ground.ports.http
    usual = port == (443 if served.tls else 80)
    return f"{scheme}://{served.domain}{'' if usual else f':{port}'}{served.path}"


def write_probe_config(ground: Ground, vantage: str, *, ca_file: Path, path: Path) -> None:
    """Write probe.toml of one vantage."""
    topology, ports = ground.topology, ground.ports
    resolvers = [ground.addresses(machine)[0] for machine in topology.resolvers[vantage]]
    top = {
        "resolvers": [r if ports.dns == 53 else f"{r}:{ports.dns}" for r in resolvers],
        "allow_networks": list(ground.reach()),
        "ca_file": str(ca_file),
    }
    limits = {"checks_per_s": 100.0, "per_target_per_minute": PER_TARGET_PER_MINUTE}
    lines = [*_keys(top), *_table("[limits]", limits), *_table("[link]", BACKOFF)]
    path.write_text("\n".join(lines) + "\n")


def _table(head: str, values: Mapping[str, Any]) -> list[str]:
    return ["", head, *_keys(values)]


def _keys(values: Mapping[str, Any]) -> Sequence[str]:
    # Strings, numbers and lists of them look the same in JSON and in TOML.
    return [f"{key} = {json.dumps(value)}" for key, value in values.items()]
