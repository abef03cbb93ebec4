"""Secrets that somebody wrote where none belongs: cut out before a text is stored, logged or shown.

Nothing of ours asks for a password, and a configuration that holds one is refused; but the text of what
was refused is kept for its reader, and a finding quotes what it finds. Only forms that cannot be meant are
cut: credentials in a URL, a private key, an enrolment token, and, in what was refused or commented out, a
value whose key says that it is secret.
"""

from __future__ import annotations

import re
from typing import Final

CUT: Final = "***"

_TELLTALE: Final = (
    r"[\w.-]*(?:passw|passphrase|secret|token|authorization|cookie|credential|api[_-]?key|private[_-]?key)"
    r"[\w.-]*"
)
_VALUE: Final = r"""(?:\"[^\"\n]*\"|'[^'\n]*'|[^\s,}\]#][^,}\]#\n]*)"""

_ALWAYS: Final = (
    (re.compile(r"(?<=://)[^\s/@\"'<>]+(?=@)"), CUT),
    (
        re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*-----|\Z)", re.DOTALL),
        CUT,
    ),
    (re.compile(r"snd1_[A-Za-z0-9_-]{16,}"), f"snd1_{CUT}"),
    (re.compile(rf"(?im)^(\s*#.*?\b[\"']?{_TELLTALE}[\"']?\s*[=:]\s*){_VALUE}"), rf"\1{CUT}"),
)
_REFUSED: Final = re.compile(rf"(?im)(^|[{{,])(\s*[\"']?{_TELLTALE}[\"']?\s*=\s*){_VALUE}")


def redact(text: str) -> str:
    """A text without what can only be a secret."""
    for pattern, instead in _ALWAYS:
        text = pattern.sub(instead, text)
    return text


def redact_refused(text: str) -> str:
    """A configuration that was refused: also without the values of keys that say they are secret."""
    return _REFUSED.sub(rf"\1\2{CUT}", redact(text))
