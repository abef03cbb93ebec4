"""Exchange this probe's certificate for a new one, in a process that lives for that alone.

    python -P -m probe.io.recertify renew STATE HOST:PORT
    python -P -m probe.io.recertify recover STATE MICROSECONDS

A running probe starts it once a week. The library that reads and checks certificates takes megabytes
for as long as the process that imported it lives (see probe.io.seal); here that is a second. The new files lie in the state directory then, or nothing was changed, and standard error says
why in one line; the exit code is that of `soundings probe`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from google.protobuf.message import DecodeError

from probe.exits import Exit, ProbeError
from probe.io import enrol, privileges, renewal, rpc
from probe.io.state import StateDirectory
from proto.gen import fleet_pb2

TIMEOUT_S: Final = 15.0
"""Of the question to the coordinator."""

_RENEW: Final = "/soundings.v1.FleetService/Renew"


def main(argv: Sequence[str]) -> int:
    """Renew or recover; the exit code."""
    verb, path, word = argv
    privileges.give_back(None)  # the key is in here too: no core file, and nobody looks in
    state = StateDirectory(Path(path))
    try:
        if verb == "renew":
            renew(state, word)
        else:
            enrol.recover(state, state.identity(), wall=lambda: int(word))
    except ProbeError as error:
        print(error, file=sys.stderr)
        return error.code
    return Exit.GOOD


def renew(state: StateDirectory, endpoint: str) -> None:
    """Ask at a fleet door, with the certificate that still holds, for its successor.

    Raises ProbeError; then nothing was changed.
    """
    identity = state.identity()
    context = rpc.trusting(
        identity.ca_pem, key=identity.key_file, certificate=identity.certificate_file
    )
    question = fleet_pb2.RenewRequest(csr_der=identity.csr_der).SerializeToString()
    try:
        answer = rpc.ask(endpoint, context, _RENEW, question, timeout_s=TIMEOUT_S)
        reply = fleet_pb2.RenewResponse.FromString(answer)
    except (rpc.CallError, DecodeError) as error:
        raise ProbeError(f"{endpoint}: {error}", code=Exit.UNREACHABLE) from error
    renewal.take(state, identity, certificate_pem=reply.certificate_pem, ca_pem=reply.ca_pem)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
