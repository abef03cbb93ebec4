from __future__ import annotations

from pathlib import Path

import pytest

from probe.core.spool import Eviction
from probe.settings import Settings, load_settings, parse_settings
from proto.model import ConfigError

WHOLE = """
resolvers = ["192.0.2.53", "192.0.2.54:5353", "[2001:db8::1]:53", "2001:db8::2"]
allow_networks = ["10.0.0.0/8", "fd00::/8"]
ca_file = "/etc/ssl/extra.pem"
source_address = "192.0.2.7"
tx_stamps = true
clock_offset_s = -600
[limits]
checks_per_s = 5
per_target_per_minute = 2.5
concurrent = 10
concurrent_https = 4
outstanding_icmp = 100
[spool]
cap_mib = 0.5
evict = "thin"
[link]
backoff_base_s = 0.1
backoff_cap_s = 1
reply_deadline_s = 2
"""


def findings(text: str) -> list[str]:
    """What is wrong with a file."""
    with pytest.raises(ConfigError) as caught:
        parse_settings(text, name="probe.toml")
    return list(caught.value.findings)


def test_every_key_is_read() -> None:
    """A file with all keys gives exactly what it says."""
    settings = parse_settings(WHOLE, name="probe.toml")
    assert settings.resolvers[2] == "[2001:db8::1]:53"
    assert settings.clock_offset_s == -600
    assert settings.tx_stamps
    assert settings.limits.per_target_per_minute == 2.5
    assert settings.limits.concurrent_https == 4
    assert (settings.spool.cap_bytes, settings.spool.evict) == (524_288, Eviction.THIN)
    assert (settings.link.backoff_base_s, settings.link.reply_deadline_s) == (0.1, 2)


def test_an_empty_file_means_defaults() -> None:
    """Nothing has to be set."""
    assert parse_settings("", name="probe.toml") == Settings()


def test_all_findings_come_at_once_with_key_value_and_fix() -> None:
    """A person repairs the file once."""
    text = """
    resolvers = ["dns.example"]
    allow_networks = ["10.0.0.1/8"]
    colour = "red"
    source_address = "here"
    ca_file = ""
    [limits]
    checks_per_s = 0
    concurrent = 1.5
    [spool]
    cap_mib = true
    evict = "newest"
    [lnk]
    x = 1
    """
    found = findings(text)
    assert len(found) == 10
    assert all(line.startswith("probe.toml: ") and "; " in line for line in found)
    assert "probe.toml: limits.checks_per_s is 0; give a number from 0.1 to 10000" in found
    assert 'probe.toml: spool.evict is \'newest\'; give one of "oldest", "thin"' in found
    assert any("[lnk]" in line and "limits, link, spool" in line for line in found)
    assert any("colour" in line and "known keys are" in line for line in found)


def test_a_section_that_is_a_value_is_a_finding() -> None:
    """`limits = 3` is not silently the defaults."""
    assert findings("limits = 3")[0].startswith("probe.toml: limits is 3;")


def test_a_cap_below_the_base_is_a_finding() -> None:
    """The two ends of the backoff must be in order."""
    assert "link.backoff_cap_s" in findings("[link]\nbackoff_cap_s = 0.5")[0]


def test_what_is_no_toml_names_the_line() -> None:
    """The parser's own words say where."""
    assert "line 2" in findings("a = 1\nb = = 2")[0]


def test_a_file_that_was_asked_for_must_exist(tmp_path: Path) -> None:
    """--config with a misspelt name is an error, a missing probe.toml is not."""
    assert load_settings(tmp_path / "probe.toml", required=False) == Settings()
    with pytest.raises(ConfigError, match="does not exist"):
        load_settings(tmp_path / "probe.toml", required=True)


def test_a_file_that_cannot_be_read_is_a_finding(tmp_path: Path) -> None:
    """Neither a directory nor bytes that are no text mean defaults."""
    with pytest.raises(ConfigError, match="cannot be read"):
        load_settings(tmp_path, required=False)
    path = tmp_path / "probe.toml"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="cannot be read"):
        load_settings(path, required=False)
