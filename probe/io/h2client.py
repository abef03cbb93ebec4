"""What every HTTP/2 connection of a probe begins with: a check's, and the one to the coordinator.

RFC 9113: the client's settings, and how its error codes are called.
"""

from __future__ import annotations

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.settings import SettingCodes, Settings

_NAMES = {int(error): error.name for error in ErrorCodes}


def client_connection(*, window_bytes: int, headers_bytes_max: int) -> H2Connection:
    """A client's state, without server push and with windows and header lists of these sizes."""
    connection = H2Connection(H2Configuration(client_side=True, header_encoding=None))
    connection.local_settings = Settings(
        client=True,
        initial_values={
            SettingCodes.ENABLE_PUSH: 0,
            SettingCodes.INITIAL_WINDOW_SIZE: window_bytes,
            SettingCodes.MAX_HEADER_LIST_SIZE: headers_bytes_max,
        },
    )
    return connection


def error_name(code: int | None) -> str:
    """The name of RFC 9113 section 7, or the number where it has none."""
    return _NAMES.get(code or 0, f"error {code}")


def text_of(word: str | bytes) -> str:
    """A header's name or value as text."""
    return word.decode("latin-1") if isinstance(word, bytes) else word
