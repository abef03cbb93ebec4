"""Scenario files and the configuration that is written for them."""

import tomllib
from pathlib import Path

import pytest

from coordinator.core.validation import validate
from deploy.lab import catalogue
from deploy.lab.fleet_config import write_coordinator_config, write_probe_config
from deploy.lab.ground import Ground, LoopbackGround, NamespaceGround
from deploy.lab.internet import internet
from deploy.lab.network import Network
from deploy.lab.scenario import load_scenario, shipped_names
from deploy.lab.services import LabError
from probe.settings import load_settings
from proto.model import Role

TOPOLOGY = internet()
GROUNDS: list[Ground] = [LoopbackGround(TOPOLOGY), NamespaceGround(Network(TOPOLOGY))]


@pytest.mark.parametrize("name", shipped_names())
def test_every_shipped_scenario_loads(name: str) -> None:
    """A scenario that comes along can be read, is named like its file, and says what is right."""
    scenario = load_scenario(name)
    assert scenario.name == name
    assert scenario.truth.classes
    assert scenario.truth.healthy == (not scenario.faults)


@pytest.mark.parametrize("text", ["name = ", 'name = "x"', 'colour = "red"\n[truth]\nclasses=[]'])
def test_a_bad_file_is_refused_by_name(tmp_path: Path, text: str) -> None:
    """Broken TOML, a missing part and an unknown key are refused with the file's name."""
    path = tmp_path / "bad.toml"
    path.write_text(text)
    with pytest.raises(LabError, match=r"bad\.toml"):
        load_scenario(str(path))


def test_an_unknown_name_lists_what_there_is(tmp_path: Path) -> None:
    """A scenario that does not exist, or is a directory, names those that do; another file what it lacks."""
    with pytest.raises(LabError, match="overload"):
        load_scenario("underload")
    with pytest.raises(LabError, match="name a file"):
        load_scenario(str(tmp_path))
    path = tmp_path / "other.toml"
    path.write_text('name = "other"\n')
    with pytest.raises(LabError, match="truth is missing"):
        load_scenario(str(path))


@pytest.mark.parametrize("ground", GROUNDS, ids=lambda ground: ground.name)
def test_coordinator_accepts_the_configuration(ground: Ground, tmp_path: Path) -> None:
    """The coordinator's own validation takes what the lab writes, with every role and anchor."""
    path = tmp_path / "soundings.toml"
    write_coordinator_config(ground, load_scenario("overload"), path)
    config = validate(tomllib.loads(path.read_text()), file=str(path))
    roles = {component.role for component in config.components()}
    assert roles == set(Role)
    assert len(config.anchors) == 8
    assert config.judging.bin_s == 2


@pytest.mark.parametrize("ground", GROUNDS, ids=lambda ground: ground.name)
def test_probe_accepts_its_configuration(ground: Ground, tmp_path: Path) -> None:
    """The probe's own settings take what the lab writes, and may reach every machine."""
    path = tmp_path / "probe.toml"
    write_probe_config(ground, "v01", ca_file=tmp_path / "ca.pem", path=path)
    settings = load_settings(path, required=True)
    assert len(settings.resolvers) == 2
    assert set(settings.allow_networks) == set(ground.reach())


def test_loopback_addresses_are_all_different() -> None:
    """No two machines of the loopback world share an address."""
    ground = LoopbackGround(TOPOLOGY)
    addresses = [ground.addresses(machine)[0] for machine in TOPOLOGY.machines]
    assert len(set(addresses)) == len(addresses)


def test_controls_sit_where_a_judgement_needs_them() -> None:
    """Neighbours share the live component's prefix; the same-network control is in the other one."""
    live = TOPOLOGY.prefix_of(catalogue.LIVE_MACHINE)
    where = {role: [TOPOLOGY.prefix_of(served.machine) for served in catalogue.CONTROLS
                    if served.role == role] for role in ("neighbour", "same_as")}  # fmt: skip
    assert where["neighbour"] == [live, live]
    assert where["same_as"] != [live]
    asn = TOPOLOGY.machine(catalogue.LIVE_MACHINE).asn
    assert TOPOLOGY.machine(catalogue.by_name(TOPOLOGY, "mail").machine).asn == asn


def test_an_unknown_component_lists_what_there_is() -> None:
    """Naming a component that does not exist names those that do."""
    with pytest.raises(LookupError, match="spaces"):
        catalogue.by_name(TOPOLOGY, "rooms")
