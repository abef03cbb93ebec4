"""What a dns check says of the lab's name servers, beside what dig says of them."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from deploy.lab.ground import NamespaceGround
from deploy.lab.internet import internet
from deploy.lab.network import Network
from deploy.lab.services_up import Services, start_services
from deploy.lab.topology import Part

pytestmark = pytest.mark.lab

VANTAGE, NAME = "v01", "www.x.test"


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    """All services on one network."""
    with Network(internet(crowd=2)) as network:
        running = start_services(
            NamespaceGround(network), tmp_path_factory.mktemp("services"), seed=1
        )
        yield running
        running.stop()


def run(services: Services, argv: list[str]) -> str:
    """What a program prints on the vantage."""
    assert isinstance(services.ground, NamespaceGround)
    return services.ground.network.run(VANTAGE, argv).output


def rows(services: Services, *options: str) -> list[dict[str, Any]]:
    """The rows of our own check."""
    topology = services.ground.topology
    argv = [sys.executable, "-m", "soundings", "probe", "check", NAME, "--kind", "dns", "--json"]
    argv += ["--resolver", topology.address(topology.resolvers[VANTAGE][0])]
    argv += [
        "--allow-network",
        "198.18.0.0/15",
        "--allow-network",
        "192.0.2.0/24",
        "--allow-network",
        "2001:db8::/32",
        *options,
    ]
    return [one["result"] for one in json.loads(run(services, argv))["runs"]]


def dig(services: Services, server: str, *options: str) -> dict[str, Any]:
    """The same facts as dig prints them."""
    page = run(services, ["dig", f"@{server}", NAME, "A", "+tries=1", *options])
    flags = re.search(r";; flags: ([a-z ]*);", page)
    answers = re.findall(r"^\S+\s+\d+\s+IN\s+A\s+(\S+)$", page, re.MULTILINE)
    assert flags is not None, page
    return {
        "flags": flags[1].split()[1:],
        "answers": sorted(answers),
        "rcode": 0 if "status: NOERROR" in page else None,
    }


def facts(row: dict[str, Any]) -> dict[str, Any]:
    """Of our row, what dig can confirm."""
    return {
        "flags": row["dns_flags"].split(),
        "answers": row["answers"].split(),
        "rcode": row["dns_rcode"],
    }


def test_a_zones_own_servers_say_to_us_what_they_say_to_dig(services: Services) -> None:
    """Found from the vantage and asked in turn, without recursion, with authority."""
    ground = services.ground
    expected = {
        address
        for machine in ground.topology.names(Part.NAMESERVER)
        for address in ground.addresses(machine)
        if ":" not in address
    }
    found = rows(services, "--authoritative", "--count", str(len(expected)))
    assert {row["address"] for row in found} == expected
    for row in found:
        assert facts(row) == dig(services, row["address"], "+norecurse")
        assert "aa" in row["dns_flags"]


def test_a_named_server_says_to_us_what_it_says_to_dig(services: Services) -> None:
    """A resolver named by its IPv6 address, as a control names one."""
    topology = services.ground.topology
    machine = topology.resolvers[VANTAGE][0]
    (server, *_) = [a for a in services.ground.addresses(machine) if ":" in a]
    (row,) = rows(services, "--server", server)
    assert row["address"] == server
    assert facts(row) == dig(services, server)
