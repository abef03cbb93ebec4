"""A whole life of coordinator and probe, and then a search: no secret is where it does not belong."""

from __future__ import annotations

import asyncio
import secrets
import time
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

from coordinator.core.tokens import parse_token, token_text
from tests.fakes.commands import Ended, command, line_with, running, soundings
from tests.fakes.fleet_client import Credentials, csr_of, key_pem, new_key, renew, session
from tests.fakes.reports import batch_of, body_of, row
from tests.fakes.secrets_found import files_of, found_in, key_secrets, rows_of_store

PAGES = ("/", "/metrics", "/healthz", "/api/probes", "/api/ingest", "/api/verdicts", "/api/lanes")
CONFIG = """
# (cut out of the stored text) was: postgres://soundings:{password}@db.test/soundings
# web_password = "{password}"
[coordinator]
fleet = "127.0.0.1:0"
enrol = "127.0.0.1:0"
web = "127.0.0.1:0"
[[service]]
name = "x"
[[service.component]]
name = "spaces"
url = "{url}"
trace = false
remembered = false
"""
GOOD_URL = "https://spaces.x.test/live"


@dataclass
class Life:
    """What was done, said and written, and the secrets of it."""

    path: Path
    secrets: dict[str, bytes] = field(default_factory=dict)
    said: dict[str, bytes] = field(default_factory=dict)

    def keep(self, what: str, ended: Ended, *, code: int = 0) -> str:
        """Keep what a command said; what it printed."""
        assert ended.returncode == code, (what, ended.stdout, ended.stderr)
        self.said[what] = (ended.stdout + ended.stderr).encode()
        return ended.stdout

    def operator(self, *words: object, code: int = 0) -> str:
        """A command of the operator's."""
        ended = soundings("coordinator", *words, "--data", self.path / "d")
        return self.keep(" ".join(map(str, words)), ended, code=code)

    def add_key(self, name: str, pem: bytes) -> None:
        """A private key that nobody must see."""
        for what, secret in key_secrets(pem).items():
            self.secrets[f"{name}, {what}"] = secret

    def add_token(self, name: str, text: str) -> None:
        """A token that nobody must see."""
        self.secrets[f"{name}, text"] = text.removeprefix("snd1_").encode()
        self.secrets[f"{name}, secret"] = parse_token(text)[1]

    def write_config(self, *, url: str = GOOD_URL, more: str = "") -> Path:
        """A configuration with a password in a comment."""
        file = self.path / "soundings.toml"
        password = self.secrets["a password"].decode()
        file.write_text(CONFIG.format(password=password, url=url) + more, encoding="utf-8")
        return file


def now_us() -> int:
    """The wall clock."""
    return time.time_ns() // 1000


@pytest.fixture(scope="module")
def life(tmp_path_factory: pytest.TempPathFactory) -> Life:
    """Enrolment, wrong tokens, a session, reports, renewal, refused configurations, a change of CA,
    revocation; then the coordinator stops.
    """
    it = Life(tmp_path_factory.mktemp("life"))
    it.secrets["a password"] = b"marker-" + secrets.token_hex(8).encode()
    file, log = it.write_config(), it.path / "log"
    argv = command("coordinator", "run", "--config", file, "--data", it.path / "d")
    with running(argv, log) as process:
        ready = line_with(log, "ready fleet=", process=process)
        doors = dict(part.split("=") for part in ready.split()[1:])
        _enrolments(it, doors["enrol"])
        probe = _credentials(it)
        asyncio.run(_session(it, doors["fleet"], probe))
        _refused_configurations(it)
        for page in PAGES:
            with urllib.request.urlopen(f"http://{doors['web']}{page}") as answer:
                it.said[page] = answer.read()
        it.add_key("the old CA", (it.path / "d/ca/key.pem").read_bytes())
        for words in (("ca", "rotate"), ("ca", "show"), ("ca", "retire", "--force")):
            it.operator(*words)
        it.add_key("the CA", (it.path / "d/ca/key.pem").read_bytes())
        for words in (("probes", "list", "--json"), ("probes", "show", probe.probe_id)):
            it.operator(*words)
        it.operator("probes", "revoke", probe.probe_id)
        it.operator("config", "history")
        for name in ("soundings.duckdb", "soundings.duckdb.wal"):
            running_file = it.path / "d" / name
            it.said[f"{name} while it runs"] = (
                running_file.read_bytes() if running_file.exists() else b""
            )
        process.terminate()
        process.wait(20)
    it.said["the coordinator's log"] = log.read_bytes()
    return it


def _enrolments(life: Life, door: str) -> None:
    """One by the command and its token, and one with a secret that is wrong, twice."""
    made = soundings("coordinator", "token", "create", "--data", life.path / "d")
    token = made.stdout.strip()
    life.add_token("the token", token)
    life.said["token create, on standard error"] = made.stderr.encode()
    token_id, _, pin = parse_token(token)
    wrong = token_text(token_id=token_id, secret=secrets.token_bytes(20), ca_key_sha256=pin)
    life.add_token("a wrong token", wrong)
    for name, text, code in (("wrong", wrong, 4), ("good", token, 0), ("again", wrong[:-9], 4)):
        state = life.path / ("probe" if name == "good" else "nobody")
        ended = soundings("probe", "enrol", "--coordinator", door, text, "--state", state)
        life.keep(f"probe enrol, {name}", ended, code=code)


def _credentials(life: Life) -> Credentials:
    """What the probe holds now."""
    state = life.path / "probe"
    key, certificate = (state / "key.pem").read_bytes(), (state / "certificate.pem").read_bytes()
    life.add_key("the probe", key)
    names = x509.load_pem_x509_certificate(certificate).extensions.get_extension_for_class(
        x509.SubjectAlternativeName
    )
    (uri,) = names.value.get_values_for_type(x509.UniformResourceIdentifier)
    return Credentials(uri.rpartition("/")[2], key, certificate, (state / "ca.pem").read_bytes())


async def _session(life: Life, door: str, probe: Credentials) -> None:
    """A session, a report, one that is refused, and a renewal for another key."""
    async with session(door, probe.channel()) as line:
        await line.hello(sent_at_us=now_us())
        await line.send(batch=batch_of(body_of([row(1, now_us())])))
        await line.receive("ack")
        await line.send(batch=batch_of(body_of([row(99, now_us())]), seq=2))
        await line.receive("reject")
    key: EllipticCurvePrivateKey = new_key()
    life.add_key("the renewed probe", key_pem(key))
    async with session(door, grpc.ssl_channel_credentials(probe.ca)) as line:
        assert (await line.ended()).code is grpc.StatusCode.UNAVAILABLE
    await renew(door, probe, csr_of(key))


def _refused_configurations(life: Life) -> None:
    """Credentials in a URL, and keys that hold secrets: refused, said, and on record."""
    password = life.secrets["a password"].decode()
    for more, url in (
        ("", f"https://soundings:{password}@spaces.x.test/live"),
        (f'headers = {{ Authorization = "Bearer {password}" }}\n', GOOD_URL),
        (f'api_key = "{password}"\n', GOOD_URL),
    ):
        life.write_config(url=url, more=more)
        life.operator("reload", code=3)
        checked = soundings("coordinator", "check-config", life.path / "soundings.toml")
        life.keep(f"check-config {more}", checked, code=3)


def test_the_search_finds_what_is_there(life: Life) -> None:
    """In the files that hold them, every key is found: what finds nothing elsewhere can see."""
    ca = found_in(files_of(life.path / "d" / "ca"), life.secrets)
    assert ("key.pem", "the CA, file") in ca
    assert ("key.pem", "the probe, file") in found_in(files_of(life.path / "probe"), life.secrets)
    written = {"soundings.toml": (life.path / "soundings.toml").read_bytes()}
    assert found_in(written, life.secrets) == [("soundings.toml", "a password")]
    assert len(life.secrets) == 13


def test_no_secret_is_in_the_store(life: Life) -> None:
    """Neither in its file and its log, running and closed, nor in any value of any table."""
    store = life.path / "d" / "soundings.duckdb"
    places = {name: text for name, text in life.said.items() if name.startswith("soundings.duckdb")}
    assert len(places) == 2
    tables = rows_of_store(store)
    assert b"***" in tables["table config_versions"]
    assert found_in({**places, store.name: store.read_bytes(), **tables}, life.secrets) == []


def test_strangers_write_no_lines_of_core_into_the_log(life: Life) -> None:
    """A handshake that fails is counted and said by us, with a bound, and not by gRPC's core without one."""
    log = life.said["the coordinator's log"]
    assert b"event=refused door=fleet refusal=no_call" in log
    assert b"Handshake failed" not in log


def test_no_secret_is_said_by_anybody(life: Life) -> None:
    """No log, page, metric, answer or message of an error has one, in no form."""
    assert len(life.said) > 20
    assert b"refused" in life.said["the coordinator's log"]
    assert found_in(life.said, life.secrets) == []


def test_each_secret_lies_in_its_own_file_alone(life: Life) -> None:
    """In the data directory keys lie in ca/, in the probe's state its own in key.pem; nothing else."""
    assert found_in(files_of(life.path / "d", but=["ca"]), life.secrets) == []
    assert found_in(files_of(life.path / "probe", but=["key.pem"]), life.secrets) == []
    ended = [name for _, name in found_in(files_of(life.path / "d"), life.secrets)]
    assert {name.partition(",")[0] for name in ended} == {"the CA"}
