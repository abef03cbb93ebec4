"""Why a port cannot be had: said with the address, the holder and the fix."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from coordinator.core.settings import Address
from coordinator.ports import explain_port, find_owner


def test_an_occupied_port_names_its_holder() -> None:
    """The message has the key, the address, the program with its pid, and what to do."""
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        text = str(explain_port(Address("127.0.0.1", port), key="coordinator.web"))
        own = Path("/proc/self/comm").read_text(encoding="ascii").strip()
        assert text == (
            f"coordinator.web: cannot listen on 127.0.0.1:{port}: port {port} is held by "
            f"{own} (pid {os.getpid()}); stop that program or choose another port in the "
            f"configuration"
        )


def test_a_holder_that_cannot_be_seen_is_not_guessed(tmp_path: Path) -> None:
    """Without a readable /proc only what is known is said."""
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as holder:
        port = holder.getsockname()[1]
        assert find_owner(port, proc=tmp_path) is None
        text = str(explain_port(Address("::1", port), key="coordinator.fleet", proc=tmp_path))
    assert f"cannot listen on [::1]:{port}: port {port} is taken; stop that program" in text


def test_an_address_of_another_machine_is_named() -> None:
    """Binding what no interface has is explained as that."""
    text = str(explain_port(Address("203.0.113.77", 7443), key="coordinator.fleet"))
    assert "no interface has that address" in text


def test_a_name_that_does_not_resolve_is_named() -> None:
    """The system's own words, and the fix."""
    text = str(explain_port(Address("nowhere.invalid", 7443), key="coordinator.fleet"))
    assert "choose another address in the configuration" in text


def test_a_port_that_came_free_is_worth_another_try() -> None:
    """What cannot be reproduced is said as such."""
    assert "try again" in str(explain_port(Address("127.0.0.1", 0), key="coordinator.web"))
