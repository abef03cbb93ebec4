"""From a report's envelope to a body that parsed alone: what each may cost is bounded before it is paid."""

from __future__ import annotations

import zlib

from coordinator.core.intake import refuse_envelope
from coordinator.store.merge import check_body
from proto.gen import fleet_pb2
from proto.model import WireError


def unpack(batch: fleet_pb2.Batch) -> tuple[bytes, tuple[tuple[int, int], ...]]:
    """The body of a report, unpacked within what its envelope promised, parsed alone and checked.

    With it, the number and slot of each check that ran because another one failed, and failed too.

    Raises WireError with the reason; never allocates more than the envelope allows.
    """
    reason = refuse_envelope(
        rows=batch.rows, seq=batch.seq, raw_bytes=batch.raw_bytes, body_bytes=len(batch.body)
    )
    if reason is not None:
        raise WireError(reason)
    body = batch.body
    if batch.codec == fleet_pb2.Batch.CODEC_ZLIB:
        body = _inflate(batch.body, batch.raw_bytes)
    elif batch.codec != fleet_pb2.Batch.CODEC_PLAIN:
        raise WireError(f"codec {batch.codec} is unknown")
    if len(body) != batch.raw_bytes:
        raise WireError(f"raw_bytes is {batch.raw_bytes}, the body has {len(body)}")
    return body, check_body(body, rows=batch.rows)


def _inflate(packed: bytes, raw_bytes: int) -> bytes:
    """Inflate no more than promised: a bomb is noticed one byte past it."""
    inflater = zlib.decompressobj()
    try:
        body = inflater.decompress(packed, raw_bytes + 1)
    except zlib.error as error:
        raise WireError("the body is not zlib") from error
    if len(body) > raw_bytes:
        raise WireError(f"the body inflates to more than its raw_bytes of {raw_bytes}")
    if not inflater.eof or inflater.unused_data:
        raise WireError("the body is cut short or has bytes after its end")
    return body
