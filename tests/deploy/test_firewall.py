"""The firewall that ships: loaded by the kernel, and tried with connections."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fakes.netlab import NFT, ROOT, UNSHARE, why_not

RULES = ROOT / "deploy" / "nftables" / "soundings.nft"
MOST = 20
STORY = """
import errno, json, socket, subprocess, sys
subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
subprocess.run([sys.argv[1], "-f", sys.argv[2]], check=True)
doors = [socket.create_server(("127.0.0.1", port), backlog=500) for port in (7443, 7445)]
held = []
def knock(source, port=7443):
    sock = socket.socket()
    sock.bind((source, 0))
    sock.settimeout(0.2)
    held.append(sock)
    try:
        sock.connect(("127.0.0.1", port))
    except TimeoutError:
        return "dropped"
    except OSError as error:
        return errno.errorcode[error.errno]
    return "in"
print(json.dumps({
    "crowd": [knock("127.0.0.2") for _ in range(25)],
    "neighbour": knock("127.0.0.3"),
    "other port": knock("127.0.0.2", 7445),
    "hasty": [knock("127.0.0.4") for _ in range(2)],
}))
"""


@pytest.mark.skipif(why_not() is not None, reason=str(why_not()))
def test_the_firewall_bounds_each_address_alone(tmp_path: Path) -> None:
    """So many connections of one address and no more; its neighbour and other ports do not feel it."""
    text = RULES.read_text(encoding="utf-8")
    assert text.count("count over 512") == 2
    rules = tmp_path / "soundings.nft"
    rules.write_text(text.replace("count over 512", f"count over {MOST}"), encoding="utf-8")
    told = _inside(rules)
    assert told["crowd"] == ["in"] * MOST + ["ECONNREFUSED"] * (25 - MOST)
    assert (told["neighbour"], told["other port"]) == ("in", "in")
    rules.write_text(
        text.replace("50/second burst 200 packets", "1/hour burst 1 packets"), encoding="utf-8"
    )
    assert _inside(rules)["hasty"] == ["in", "dropped"]


def _inside(rules: Path) -> dict[str, list[str]]:
    words = [*UNSHARE, sys.executable, "-c", STORY, NFT, str(rules)]
    ran = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
    assert ran.returncode == 0, ran.stderr
    return dict(json.loads(ran.stdout))
