"""Who counts as an independent voice: one hosting network, one voice.

Several vantage points in one AS share its upstreams, its filters and its operator. They are one
group, and their weights follow the design effect: n members with residual correlation r count as
n / (1 + (n - 1) * r), so five machines in one AS are about 1.2 votes. Vantage points whose AS is not
known form one group together: what is not known must not multiply votes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from analysis.core.block import Block, Bools, Floats, Ints, Vantage

SAME_AS_CORRELATION: Final = 0.8  # start value by reasoning; to be refitted from residuals


@dataclass(frozen=True, slots=True)
class Groups:
    """`of[v]` is the group of each vantage, `weight[v]` its share of a vote."""

    names: tuple[str, ...]
    countries: tuple[str | None, ...]
    of: Ints
    weight: Floats

    def sums(self, values: Floats) -> Floats:
        """Weighted sums per group of values [..., V] -> [..., G]."""
        member = (self.of[:, None] == np.arange(len(self.names))) * self.weight[:, None]
        return np.asarray(values @ member)


def group_name(vantage: Vantage) -> str:
    """How people read a group."""
    return "AS unknown" if vantage.asn is None else f"AS{vantage.asn}"


def form_groups(block: Block, *, speaking: Bools) -> Groups:
    """Groups over the vantages that have anything to say; a silent one takes no share of a vote."""
    names = sorted({group_name(vantage) for vantage in block.vantages})
    index = {name: number for number, name in enumerate(names)}
    of = np.array([index[group_name(one)] for one in block.vantages], dtype=np.int64)
    size = np.bincount(of, weights=speaking.astype(float), minlength=len(names))
    shared = 1.0 / (1.0 + np.maximum(size[of] - 1.0, 0.0) * SAME_AS_CORRELATION)
    return Groups(
        tuple(names),
        tuple(_country(block.vantages, of == number) for number in range(len(names))),
        of,
        shared * speaking,
    )


def _country(vantages: Sequence[Vantage], members: Bools) -> str | None:
    """The country of a group's members; a group is one voice in one place."""
    known = (vantages[int(i)].country for i in np.flatnonzero(members))
    return min((country for country in known if country is not None), default=None)
