"""Change one field of a protobuf message, which bytes changed at random seldom do."""

from __future__ import annotations

import random
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

NUMBERS = (0, 1, 2, 4, 6, 7, 53, 255, 256, 999, 65535, 65536, 2**31 - 1, 2**31, 2**32 - 1)
SIGNED = (*(n for n in NUMBERS if n < 2**31), -1, -2, -100, -(2**31))
WIDE = (*NUMBERS, 2**53, 2**63 - 1)
TEXTS = (
    "", ".", "a", "x.test", "a..b", "b\u00fccher.test", "-", "127.1", "0177.0.0.1", "::1", "1.2.3.4",
    "::ffff:10.0.0.1", "fe80::1%eth0", "[2001:db8::1]:53", "[::1", "1.2.3.4:0", "10.0.0.0/8",
    "10.0.0.1/8", "fd00::/8", "GET", "HEAD", "POST", "A", "AAAA", "TXT", "MX", "/", "//", "/ x",
    "/\r\nHost: y", "\0", "\ud7ff", "x" * 300, "a." * 130, "1.1", "2", "xn--", "xn--a", "\u3002",
)  # fmt: skip


def mutated(message: Message, rng: random.Random) -> Message:
    """The message itself, with one field of it, at any depth, set, repeated or taken away."""
    holder, field = rng.choice(_places(message))
    name = field.name
    if field.is_repeated:
        _change_list(getattr(holder, name), field, rng)
    elif rng.random() < 0.1:
        holder.ClearField(name)  # type: ignore[arg-type]  # a name of the descriptor
    else:
        setattr(holder, name, _value(field, rng))
    return message


def _places(message: Message) -> list[tuple[Message, FieldDescriptor]]:
    found = [(message, field) for field in message.DESCRIPTOR.fields]
    for field in message.DESCRIPTOR.fields:
        if field.type == field.TYPE_MESSAGE:
            for child in getattr(message, field.name):
                found += _places(child)
    return found


def _change_list(values: Any, field: FieldDescriptor, rng: random.Random) -> None:
    """One entry more, one less, or one changed."""
    way = rng.random()
    if values and way < 0.2:
        del values[rng.randrange(len(values))]
    elif field.type == field.TYPE_MESSAGE:
        values.add().CopyFrom(
            rng.choice(values) if values else field.message_type._concrete_class()
        )
    elif values and way < 0.9:
        values[rng.randrange(len(values))] = _value(field, rng)
    else:
        values.append(_value(field, rng))


def _value(field: FieldDescriptor, rng: random.Random) -> Any:
    if field.type == field.TYPE_STRING:
        return rng.choice(TEXTS)
    if field.type == field.TYPE_BYTES:
        return rng.randbytes(rng.randrange(9))
    if field.type == field.TYPE_BOOL:
        return rng.random() < 0.5
    if field.type in {field.TYPE_INT32, field.TYPE_SINT32, field.TYPE_ENUM}:
        return rng.choice(SIGNED)
    if field.type in {field.TYPE_INT64, field.TYPE_SINT64}:
        return rng.choice((-1, 1)) * rng.choice(WIDE)
    return rng.choice(WIDE if field.type == field.TYPE_UINT64 else NUMBERS)
