"""Faults of services on the real network of namespaces, seen by curl and dig from a vantage."""

from collections.abc import Callable, Iterator

import pytest

from deploy.lab import service_faults as faults
from deploy.lab.faults.base import Fault
from deploy.lab.ground import NamespaceGround
from deploy.lab.internet import internet
from deploy.lab.network import Network
from deploy.lab.services import wait_until
from deploy.lab.services_up import Services, start_services
from deploy.lab.topology import Part

pytestmark = pytest.mark.lab

VANTAGE = "v01"
TTL_AND_SLACK_S = 15.0  # an answer lives four seconds in the resolvers' caches


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    """All services on one network, without delays: nothing here is about time."""
    with Network(internet(crowd=2)) as network:
        ground = NamespaceGround(network)
        running = start_services(ground, tmp_path_factory.mktemp("services"), seed=1)
        yield running
        running.stop()


def curl(services: Services, component: str) -> str:
    """HTTP status as curl sees it from the vantage, or `exit N`."""
    assert isinstance(services.ground, NamespaceGround)
    served = services.served(component)
    address = services.ground.addresses(served.machine)[0]
    ran = services.ground.network.run(
        VANTAGE,
        ["curl", "-s", "-m", "4", "-o", "/dev/null", "-w", "%{http_code}", "--cacert",
         str(services.shop.ca_file), "--resolve", f"{served.domain}:443:{address}",
         f"https://{served.domain}{served.path}"],
    )  # fmt: skip
    return ran.output if ran.exit_code == 0 else f"exit {ran.exit_code}"


def dig(services: Services, component: str) -> str:
    """The status word of a resolver's reply."""
    assert isinstance(services.ground, NamespaceGround)
    topology = services.ground.topology
    resolver = topology.address(topology.resolvers[VANTAGE][0])
    name = services.served(component).domain
    ran = services.ground.network.run(VANTAGE, ["dig", "+tries=1", f"@{resolver}", name])
    return next((line for line in ran.output.splitlines() if "status:" in line), ran.output)


def test_everything_answers_when_nothing_is_wrong(services: Services) -> None:
    """Every component of the platform answers 200, and its name resolves."""
    subjects = ("web", "api", "static", "media", "spaces", "status", "neighbour-a", "mail", "peer")
    assert {name: curl(services, name) for name in subjects} == dict.fromkeys(subjects, "200")
    assert "NOERROR" in dig(services, "spaces")


@pytest.mark.parametrize(
    ("make", "broken", "seen"),
    [
        (lambda s: faults.http_503(s, components=["api"]), "api", "503"),
        (faults.http_503, "spaces", "503"),
        (faults.live_dead, "spaces", "502"),
        (lambda s: faults.slow_live(s, service_s=5.0), "spaces", "exit 28"),
        (lambda s: faults.web_gone(s, machine="cdn-edge"), "static", "exit 7"),
        (lambda s: faults.web_stopped(s, machine="cdn-edge"), "static", "exit 28"),
        (lambda s: faults.certificate(s, component="web", flavour="expired"), "web", "exit 60"),
    ],
)
def test_fault_is_seen_and_gone_again(
    services: Services, make: Callable[[Services], Fault], broken: str, seen: str
) -> None:
    """Each fault shows as itself at its component, is its own truth, and leaves nothing behind."""
    with make(services) as fault:
        wait_until(lambda: curl(services, broken) == seen, what=f"{seen} from {broken}")
        assert broken in {affected.component for affected in fault.truth.affected}
        untouched = {"web", "media", "static"} - {a.component for a in fault.truth.affected}
        assert {curl(services, name) for name in untouched} <= {"200"}
    wait_until(lambda: curl(services, broken) == "200", what=f"{broken} to recover")


def test_names_fail_when_the_caches_run_out(services: Services) -> None:
    """A zone that answers NXDOMAIN is seen through the resolver after the TTL, and only it."""
    with faults.names(services, mode="nxdomain"):
        wait_until(
            lambda: "NXDOMAIN" in dig(services, "web"),
            what="NXDOMAIN",
            timeout_s=TTL_AND_SLACK_S,
        )
        assert "NOERROR" in dig(services, "neighbour-a")
    wait_until(
        lambda: "NOERROR" in dig(services, "web"), what="the name", timeout_s=TTL_AND_SLACK_S
    )


def test_crowd_hurts_the_live_component_alone(services: Services) -> None:
    """Under a crowd some joins fail while the neighbour in the same prefix stays good."""
    machines = services.ground.topology.names(Part.CROWD)
    with faults.crowd(services, per_s=120, ramp_s=1, machines=machines, seed=5):
        wait_until(lambda: curl(services, "spaces") in {"503", "504"}, what="a join that fails")
        assert curl(services, "neighbour-a") == "200"
        assert curl(services, "web") == "200"
    wait_until(lambda: curl(services, "spaces") == "200", what="recovery")
