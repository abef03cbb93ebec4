"""A fleet of thousands on paper: enrolled in a coordinator's files, with certificates to come in by.

Enrolment itself is measured elsewhere; here it would be five minutes of waiting. So probes are
entered through the registry that the enrolment door uses, and their certificates are signed by the
coordinator's own authority. All share one key pair: what is measured is a server, not key making.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.serialization import Encoding

from coordinator.app import wall_us
from coordinator.core.registry import Probe, Vantage
from coordinator.core.tokens import parse_token
from coordinator.datadir import hold
from coordinator.rpc.authority import as_datetime, open_authority
from coordinator.store.registry import Registry
from tests.fakes.fleet_client import csr_of, key_pem, new_key

ACCESS_NETWORKS: Final = 97
"""The fleet is spread over so many networks, in a dozen countries: the store sees real variety."""

COUNTRIES: Final = ("DE", "FR", "GB", "US", "BR", "IN", "JP", "AU", "ZA", "SE", "PL", "SG")

CONFIG: Final = """
[coordinator]
fleet = "127.0.0.1:{fleet}"
enrol = "127.0.0.1:0"
web = ""
[defaults]
interval_s = 60
trace = false
remembered = false
confirm_after_s = []
[limits]
queue_mib = 64
fleet_per_target_per_minute = 1000000  # every probe is to measure every target
strangers_per_source = 8000  # all of them come from one address, at once
"""


@dataclass(frozen=True, slots=True)
class FleetFiles:
    """Where the coordinator's files are, and where its clients find who they are."""

    config: Path
    data: Path
    fleet: Path


def make_fleet(directory: Path, *, probes: int, components: int, port: int = 0) -> FleetFiles:
    """Write a configuration, a data directory with enrolled probes, and their certificates.

    `port` is the fleet door's; 0 = whichever is free.
    """
    files = FleetFiles(directory / "soundings.toml", directory / "data", directory / "fleet.json")
    files.config.write_text(CONFIG.format(fleet=port) + _services(components), encoding="utf-8")
    with hold(files.data) as held:
        authority = open_authority(held.authority, now=as_datetime(wall_us()))
        registry = Registry(held.registry, wall=wall_us)
        try:
            key = new_key()
            csr = csr_of(key)
            enrolled = [_enrol(registry, authority.key_sha256, n, csr) for n in range(probes)]
        finally:
            registry.close()
        now = as_datetime(wall_us())
        certificates = {
            probe.probe_id: authority.issue_probe(csr, probe.probe_id, now=now)
            .public_bytes(Encoding.PEM)
            .decode()
            for probe in enrolled
        }
    fleet = {
        "ca": authority.certificate_pem.decode(),
        "key": key_pem(key).decode(),
        "certificates": certificates,
    }
    files.fleet.write_text(json.dumps(fleet), encoding="utf-8")
    return files


def _services(components: int) -> str:
    tables = ['[[service]]\nname = "x"\n']
    tables += [
        f'[[service.component]]\nname = "c{n}"\nurl = "https://c{n}.x.test/"\nasn = {64_600 + n}\n'
        for n in range(components)
    ]
    return "\n".join(tables)


def _enrol(registry: Registry, ca_key_sha256: bytes, number: int, csr: bytes) -> Probe:
    vantage = Vantage(
        asn=64_512 + number % ACCESS_NETWORKS, country=COUNTRIES[number % len(COUNTRIES)]
    )
    text, _ = registry.create_token(
        name=f"v{number:05d}", vantage=vantage, ttl_s=3600, ca_key_sha256=ca_key_sha256
    )
    token_id, secret, _ = parse_token(text)
    probe = registry.enrol(token_id=token_id, secret=secret, csr_der=csr)
    assert isinstance(probe, Probe), probe
    return probe
