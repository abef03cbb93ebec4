"""Tokens and probes on disk, in a file of their own; small, so all of it is also in memory.

Every change is durable before it is believed: memory follows the file, never the other way. Calls
block for one disk flush; on the event loop they go through `asyncio.to_thread`.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import threading
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from coordinator.core.networks import Place
from coordinator.core.registry import ITSELF, Decision, Probe, ProbeState, Sources, Vantage
from coordinator.core.tokens import (
    ID_BYTES,
    SECRET_BYTES,
    Granted,
    Refused,
    Token,
    redeem,
    token_text,
)
from coordinator.store.open import connect
from coordinator.store.statements import statement
from proto.model import SoundingsError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import duckdb


class RegistryError(SoundingsError):
    """What was asked of the registry cannot be done, and why."""


class Registry:
    """The registry of one data directory. `wall` gives microseconds since 1970 UTC."""

    def __init__(self, path: Path, *, wall: Callable[[], int]) -> None:
        self._con = connect(path)
        path.chmod(0o600)
        self._wall = wall
        self._sources = Sources()
        self._lock = threading.Lock()  # of the file
        self._memory = threading.Lock()
        self._con.execute(statement("registry_schema"))
        rows = self._con.execute(statement("read_registry_tokens")).fetchall()
        self._tokens = {row[0]: _token(row) for row in rows}
        rows = self._con.execute(statement("read_registry_probes")).fetchall()
        self._probes = {row[0]: _probe(row) for row in rows}
        self._shown = dict(self._con.execute(statement("read_registry_shown")).fetchall())

    def close(self) -> None:
        """Close the file."""
        self._con.close()

    def behind(self, ca_us: int) -> tuple[Probe, ...]:
        """The probes that may speak and are not known to have a certificate of the CA of then."""
        return tuple(
            probe
            for probe in self._probes.values()
            if probe.state is not ProbeState.REVOKED
            and max(self._shown.get(probe.probe_id, 0), probe.enrolled_at_us) < ca_us
        )

    def note_shown(self, probe_id: str, *, ca_us: int) -> None:
        """It showed a certificate of the CA that was made at `ca_us`."""
        if self._shown.get(probe_id, 0) >= ca_us:
            return
        with self._change() as con:
            con.execute(statement("set_probe_shown"), {"probe_id": probe_id, "ca_us": ca_us})
        self._shown[probe_id] = ca_us

    def open_tokens(self, *, before_us: int) -> int:
        """Tokens from before this instant that may still be used: they pin the CA of then."""
        now_us = self._wall()
        return sum(
            token.used_by is None
            and now_us < token.expires_at_us
            and token.created_at_us < before_us
            for token in self._tokens.values()
        )

    def settle(self) -> None:
        """Bring everything into the file itself; what changes later waits in the log beside it."""
        with self._lock:
            self._con.execute("CHECKPOINT")

    def probe(self, probe_id: str) -> Probe | None:
        """One probe, from memory."""
        return self._probes.get(probe_id)

    def probes(self) -> tuple[Probe, ...]:
        """Every probe ever enrolled, oldest first."""
        return tuple(self._probes.values())

    def create_token(
        self,
        *,
        name: str,
        vantage: Vantage,
        ttl_s: int,
        ca_key_sha256: bytes,
        entropy: Callable[[int], bytes] = secrets.token_bytes,
    ) -> tuple[str, Token]:
        """A new token and its text, which is kept nowhere. An empty name is made from its id.

        Raises RegistryError when the name is in use: two vantage points of one name would be
        judged as one.
        """
        token_id, secret = entropy(ID_BYTES), entropy(SECRET_BYTES)
        token = Token(
            token_id=token_id,
            secret_sha256=hashlib.sha256(secret).digest(),
            name=name or f"v{token_id.hex()[:6]}",
            vantage=vantage,
            created_at_us=self._wall(),
            expires_at_us=self._wall() + ttl_s * 1_000_000,
        )
        with self._change() as con:
            self._refuse_name(token.name)
            values = {
                "token_id": token.token_id,
                "secret_sha256": token.secret_sha256,
                "name": token.name,
                "vantage": _vantage_text(vantage),
                "created_at_us": token.created_at_us,
                "expires_at_us": token.expires_at_us,
            }
            con.execute(statement("insert_token"), values)
        self._tokens[token_id] = token
        return token_text(token_id=token_id, secret=secret, ca_key_sha256=ca_key_sha256), token

    def enrol(self, *, token_id: bytes, secret: bytes, csr_der: bytes) -> Probe | Refused:
        """Use a token up and make its probe, in one transaction; the same key may ask again."""
        with self._change() as con:
            now_us = self._wall()
            granted = redeem(
                self._tokens.get(token_id), secret=secret, csr_der=csr_der, now_us=now_us
            )
            if isinstance(granted, Refused):
                return granted
            if granted.again:
                return self._probes[granted.token.probe_id]
            token, probe = self._use(con, granted, csr_der, now_us)
        self._tokens[token.token_id] = token
        self._probes[probe.probe_id] = probe
        return probe

    def set_state(
        self, probe_id: str, state: ProbeState, *, reason: str = "", by: str = ITSELF
    ) -> Probe:
        """Revoke or quarantine a probe, or lift a quarantine; `probe_id` may be its name.

        Raises RegistryError for a probe that is unknown, or revoked: that is for ever.
        """
        with self._change() as con:
            probe = self._probes.get(probe_id) or self._named(probe_id)
            probe_id = probe.probe_id
            if probe.state is ProbeState.REVOKED and state is not ProbeState.REVOKED:
                raise RegistryError(f"probe {probe_id} is revoked for ever; enrol it anew")
            decision = Decision(reason=reason, by=by, at_us=self._wall())
            values = {"probe_id": probe_id, "state": state.value, **asdict(decision)}
            con.execute(statement("set_probe_state"), values)
        return self._keep(probe_id, state=state, decision=decision)

    def see(self, probe_id: str, place: Place | None) -> Probe:
        """Keep where the table of networks says that a probe is; None = it does not say.

        Raises RegistryError for a probe that is unknown.
        """
        with self._change() as con:
            probe = self._probes.get(probe_id)
            if probe is None:
                raise RegistryError(f"no probe {probe_id!r}")
            text = None if place is None else json.dumps(asdict(place))
            con.execute(statement("set_probe_seen"), {"probe_id": probe_id, "seen": text})
        return self._keep(probe_id, seen=place)

    def follow(self, sources: Sources) -> tuple[Probe, ...]:
        """Believe these sources from now on; gives the probes whose vantage is another now."""
        self._sources = sources
        changed = []
        for probe in self.probes():
            after = self._keep(probe.probe_id, sources=sources)
            changed += [after] if after.vantage != probe.vantage else []
        return tuple(changed)

    def _keep(self, probe_id: str, **changes: Any) -> Probe:
        """Change a probe in memory: what another thread changed of it meanwhile stays."""
        with self._memory:
            after = self._probes[probe_id] = replace(self._probes[probe_id], **changes)
        return after

    def _named(self, name: str) -> Probe:
        """The one probe of that name; a revoked one only where no other has it."""
        found = [probe for probe in self._probes.values() if probe.name == name]
        standing = [probe for probe in found if probe.state is not ProbeState.REVOKED] or found
        if len(standing) == 1:
            return standing[0]
        which = f"several probes {name!r}" if standing else f"no probe {name!r}"
        raise RegistryError(f"{which}; `soundings coordinator probes list` shows them by their ids")

    def _use(
        self, con: duckdb.DuckDBPyConnection, granted: Granted, csr_der: bytes, now_us: int
    ) -> tuple[Token, Probe]:
        token = replace(granted.token, used_by=hashlib.sha256(csr_der).digest())
        probe = Probe(
            probe_id=token.probe_id,
            name=token.name,
            declared=token.vantage,
            sources=self._sources,
            state=ProbeState.ENROLLED,
            enrolled_at_us=now_us,
        )
        con.execute(statement("use_token"), {"used_by": token.used_by, "token_id": token.token_id})
        values = {
            "probe_id": probe.probe_id,
            "name": probe.name,
            "vantage": _vantage_text(probe.declared),
            "state": probe.state.value,
            "enrolled_at_us": now_us,
        }
        con.execute(statement("insert_registry_probe"), values)
        return token, probe

    def _refuse_name(self, name: str) -> None:
        now_us = self._wall()
        open_tokens = (
            t.name for t in self._tokens.values() if t.used_by is None and now_us < t.expires_at_us
        )
        live = (p.name for p in self._probes.values() if p.state is not ProbeState.REVOKED)
        if name in {*open_tokens, *live}:
            raise RegistryError(
                f"the name {name!r} is taken by another probe or token; choose another --name"
            )

    @contextmanager
    def _change(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """One transaction at a time; whatever is raised inside undoes it."""
        with self._lock:
            self._con.execute("BEGIN TRANSACTION")
            try:
                yield self._con
                self._con.execute("COMMIT")
            except BaseException:
                self._con.execute("ROLLBACK")
                raise


def _vantage_text(vantage: Vantage) -> str:
    fields = {
        "asn": vantage.asn,
        "country": vantage.country,
        "provider": vantage.provider,
        "labels": dict(vantage.labels),
    }
    return json.dumps(fields, sort_keys=True)


def _vantage(text: str) -> Vantage:
    return Vantage(**json.loads(text))


def _token(row: tuple[Any, ...]) -> Token:
    token_id, secret_sha256, name, vantage, created_at_us, expires_at_us, used_by = row
    return Token(
        token_id=token_id,
        secret_sha256=secret_sha256,
        name=name,
        vantage=_vantage(vantage),
        created_at_us=created_at_us,
        expires_at_us=expires_at_us,
        used_by=used_by,
    )


def _probe(row: tuple[Any, ...]) -> Probe:
    probe_id, name, vantage, state, enrolled_at_us, seen, reason, by, at_us = row
    return Probe(
        probe_id=probe_id,
        name=name,
        declared=_vantage(vantage),
        decision=None if at_us is None else Decision(reason=reason, by=by, at_us=at_us),
        seen=None if seen is None else Place(**json.loads(seen)),
        state=ProbeState(state),
        enrolled_at_us=enrolled_at_us,
    )
