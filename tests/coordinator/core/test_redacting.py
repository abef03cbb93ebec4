"""What is cut out of texts, and what is not."""

from __future__ import annotations

import pytest

from coordinator.core.redacting import redact, redact_refused

CUT = [
    ('url = "https://me:hunter2@x.test/a"', 'url = "https://***@x.test/a"'),
    ("# postgres://hunter2@db", "# postgres://***@db"),
    ("a -----BEGIN EC PRIVATE KEY-----\nhunter2\n-----END EC PRIVATE KEY----- b", "a *** b"),
    ("-----BEGIN PRIVATE KEY-----\nhunter2", "***"),
    ("enrol snd1_aGVsbG8gd29ybGQtaGVsbG8 now", "enrol snd1_*** now"),
    ('#  db_password = "hunter2"', "#  db_password = ***"),
]
REFUSED = [
    ('password = "hunter2"', "password = ***"),
    (
        "headers = { Authorization = 'Bearer hunter2', a = 1 }",
        "headers = { Authorization = ***, a = 1 }",
    ),
    ('[x]\n  "api-key" = hunter2 # why', '[x]\n  "api-key" = ***# why'),
]
GOOD = [
    'url = "https://x.test/?token=public&a=b"',
    "mail = me@x.test",
    'expect_body = "token: valid"',
    "snd1_",
]


@pytest.mark.parametrize(("text", "left"), CUT)
def test_what_can_only_be_a_secret_is_cut_out(text: str, left: str) -> None:
    """Credentials of a URL, private keys, tokens, commented passwords; the rest stays as it is."""
    assert redact(text) == left
    assert redact_refused(text) == left


@pytest.mark.parametrize(("text", "left"), REFUSED)
def test_of_a_refused_file_values_of_secret_keys_are_cut_out_too(text: str, left: str) -> None:
    """A key's name says so; in an accepted file no such key exists, and labels keep what they say."""
    assert redact_refused(text) == left
    assert redact(text) == text


@pytest.mark.parametrize("text", GOOD)
def test_what_may_be_meant_stays(text: str) -> None:
    """An accepted text is stored as it was read, so that it can be gone back to."""
    assert redact(text) == text
    assert redact_refused(text) == text
