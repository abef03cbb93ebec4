"""Enrolment tokens for the whole fleet, asked of the running coordinator at its operator's door.

The door is a unix socket in the coordinator's data directory, the same that `soundings coordinator
token create` uses; asking it directly saves two dozen interpreters. It is asked from a child
process, because a gRPC channel in the lab's own would forbid forking probes afterwards.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from deploy.lab.services import HerePlace, LabError, launch
from deploy.lab.topology import Topology

TOKEN_TTL_S: Final = 3600
CALL_TIMEOUT_S: Final = 10.0
ALL_TIMEOUT_S: Final = 30.0


def create_tokens(topology: Topology, *, admin_socket: Path, directory: Path) -> Mapping[str, str]:
    """One token per vantage, each carrying where the vantage sits."""
    kept = directory / "tokens.json"
    log = directory / "tokens.log"
    child = launch(HerePlace(), lambda: _ask(topology, admin_socket, kept), name="tokens", log=log)
    if not child.wait(ALL_TIMEOUT_S):
        child.kill()
    if child.exit_code != 0:
        raise LabError(f"no enrolment tokens from {admin_socket}:\n{child.log_tail()}")
    tokens: dict[str, str] = json.loads(kept.read_text())
    return tokens


def _ask(topology: Topology, admin_socket: Path, kept: Path) -> None:
    import grpc  # noqa: PLC0415 - in the child only, see above

    from proto.gen import admin_pb2, admin_pb2_grpc  # noqa: PLC0415 - as above

    tokens = {}
    with grpc.insecure_channel(f"unix:{admin_socket}") as channel:
        door = admin_pb2_grpc.AdminStub(channel)
        for name in topology.vantages:
            system = topology.system_of(name)
            vantage = admin_pb2.Vantage(
                asn=system.asn,
                country=system.country,
                provider=system.name,
                labels={"tier": "hosting"},
            )
            request = admin_pb2.CreateTokenRequest(name=name, vantage=vantage, ttl_s=TOKEN_TTL_S)
            tokens[name] = door.CreateToken(request, timeout=CALL_TIMEOUT_S).token
    kept.write_text(json.dumps(tokens))
