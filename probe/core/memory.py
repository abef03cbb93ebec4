"""The addresses that names had within the last day, for the control that goes on when a name fails.

A name that no longer resolves, or resolves to something else, leaves open whether the service behind
it still stands. An address that it had yesterday answers that, so every resolution that went well is
remembered here: by name and family, bounded, and never for longer than a day, because after that the
address may be anybody's.

Ages are by the wall clock, which outlives a restart. An entry from the future (the clock was set
back) has no known age and is not used.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any, Final, TypeAlias

from probe.core.address import parse_address

KEEP_S: Final = 24 * 3600
"""As the method has it; a day of answers also covers those that vary with the time of day."""

NAMES_MAX: Final = 1024
"""Names times families that are remembered: some 2 MB when each has its fill of addresses."""

ADDRESSES_MAX: Final = 16
"""Addresses of one name: an answer rarely holds more, and one is enough."""

_US: Final = 1_000_000
_VERSION: Final = 1
_Key: TypeAlias = tuple[str, int]


class AddressMemory:
    """What names led to, and when last; of too many the least recently seen are forgotten."""

    __slots__ = ("_seen",)

    def __init__(self) -> None:
        # Both levels in the order of the last look, oldest first.
        self._seen: dict[_Key, dict[str, int]] = {}

    def __len__(self) -> int:
        return len(self._seen)

    def young(self, *, now_us: int) -> int:
        """Names times families with an address of the last day."""
        return sum(
            any(_is_young(at_us, now_us) for at_us in seen.values()) for seen in self._seen.values()
        )

    def remember(self, name: str, addresses: Iterable[str], *, family: int, now_us: int) -> None:
        """A name led to these addresses of a family just now."""
        for address in list(addresses)[:ADDRESSES_MAX]:
            self._put((_canonical(name), family), address, now_us)

    def recall(
        self, name: str, *, family: int, now_us: int, but: Iterable[str] = ()
    ) -> tuple[str, ...]:
        """The addresses of the last day, last seen first, without those in `but`."""
        seen = self._seen.get((_canonical(name), family), {})
        left_out = frozenset(but)
        young = [
            (-at_us, address)
            for address, at_us in seen.items()
            if _is_young(at_us, now_us) and address not in left_out
        ]
        return tuple(address for _, address in sorted(young))

    def dump(self, *, now_us: int) -> bytes:
        """Everything of the last day, as `load` reads it."""
        rows = [
            [name, family, [[address, at_us] for address, at_us in seen.items()]]
            for (name, family), seen in self._young(now_us)
        ]
        return json.dumps({"version": _VERSION, "names": rows}).encode()

    def _young(self, now_us: int) -> Iterator[tuple[_Key, dict[str, int]]]:
        for key, seen in self._seen.items():
            young = {text: at_us for text, at_us in seen.items() if _is_young(at_us, now_us)}
            if young:
                yield key, young

    def _put(self, key: _Key, address: str, at_us: int) -> None:
        seen = self._seen.pop(key, {})
        seen.pop(address, None)
        seen[address] = at_us
        if len(seen) > ADDRESSES_MAX:
            del seen[next(iter(seen))]
        self._seen[key] = seen
        if len(self._seen) > NAMES_MAX:
            del self._seen[next(iter(self._seen))]

    @classmethod
    def load(cls, content: bytes) -> AddressMemory:
        """What `dump` wrote.

        Raises:
            ValueError: it did not write this.
        """
        memory = cls()
        try:
            read = json.loads(content)
            if read["version"] != _VERSION:
                raise ValueError(f"version {read['version']!r}")  # noqa: TRY301 - one way out
            for name, family, seen in read["names"]:
                for address, at_us in seen:
                    key = _canonical(_of_type(str, name)), _of_type(int, family)
                    memory._put(key, _address(address, key[1]), _of_type(int, at_us))
        except (ValueError, LookupError, TypeError, RecursionError) as error:
            raise ValueError(f"it holds no remembered addresses ({error!r})") from None
        return memory


def _canonical(name: str) -> str:
    return name.lower().rstrip(".")


def _is_young(at_us: int, now_us: int) -> bool:
    return 0 <= now_us - at_us < KEEP_S * _US


def _of_type(kind: type, value: Any) -> Any:
    if type(value) is not kind:
        raise ValueError(f"{value!r} is no {kind.__name__}")
    return value


def _address(text: Any, family: int) -> str:
    address = parse_address(_of_type(str, text))
    if address is None or address.version != family:
        raise ValueError(f"{text!r} is no address of IPv{family}")
    return str(address)
