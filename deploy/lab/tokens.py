"""Enrolment tokens for the whole fleet, made by the coordinator's own command.

`soundings coordinator token create` asks the running coordinator at its operator's door. It is called
here two dozen times in one child process, because as many interpreters would cost ten seconds, and
in a child, because the channels that it opens would forbid forking probes afterwards.
"""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from deploy.lab.services import HerePlace, LabError, launch
from deploy.lab.topology import Topology

ALL_TIMEOUT_S: Final = 60.0


def create_tokens(topology: Topology, *, data: Path, directory: Path) -> Mapping[str, str]:
    """One token per vantage, each carrying where the vantage sits; `data` is the coordinator's."""
    kept, log = directory / "tokens.json", directory / "tokens.log"
    child = launch(HerePlace(), lambda: _create(topology, data, kept), name="tokens", log=log)
    if not child.wait(ALL_TIMEOUT_S):
        child.kill()
    if child.exit_code != 0:
        raise LabError(f"no enrolment tokens from {data}:\n{child.log_tail()}")
    tokens: dict[str, str] = json.loads(kept.read_text())
    return tokens


def _create(topology: Topology, data: Path, kept: Path) -> None:
    from coordinator import cli  # noqa: PLC0415 - in the child only, see above

    tokens = {}
    for name in topology.vantages:
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            code = cli.main(
                ["token", "create", "--json", "--data", str(data), *_facts(topology, name)]
            )
        if code != 0:
            raise LabError(f"token create for {name} ended with {code}")
        tokens[name] = json.loads(said.getvalue())["token"]
    kept.write_text(json.dumps(tokens))


def _facts(topology: Topology, vantage: str) -> list[str]:
    system = topology.system_of(vantage)
    where = ["--asn", str(system.asn), "--country", system.country, "--provider", system.name]
    return ["--name", vantage, *where, "--label", "tier=hosting"]
