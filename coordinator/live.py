"""Judging and the page, as one part of a running coordinator."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial

from coordinator.core.settings import Address
from coordinator.judging import assign, judging
from coordinator.progress import Progress
from coordinator.runtime import Runtime, Service
from coordinator.web.desk import Desk
from coordinator.web.server import serve


def showing(web: Address | None) -> Service:
    """The same part with its page at another address than the configured one (None = that one)."""
    return partial(judge_and_show, web=web)


@asynccontextmanager
async def judge_and_show(
    runtime: Runtime, *, web: Address | None = None
) -> AsyncIterator[Mapping[str, str]]:
    """Judge what comes in, and serve the page where the configuration (or `web`) wants one."""
    progress = Progress()
    judge = judging(
        runtime.store,
        wall=runtime.wall,
        assignment=lambda: assign(runtime.configs.config),
        progress=progress,
        heard=runtime.heard,
    )
    async with judge:
        address = web or runtime.configs.config.doors.web
        if address is None:
            yield {}
            return
        async with serve(_desk(runtime, progress), address) as bound:
            yield {"web": bound}


def _desk(runtime: Runtime, progress: Progress) -> Desk:
    configs, store = runtime.configs, runtime.store
    return Desk(
        wall=runtime.wall,
        cursor=store.cursor,
        counts=lambda: store.counts,
        trouble=lambda: store.trouble,
        sessions=lambda: runtime.presence.connected,
        refusals=lambda: runtime.refusals.counts,
        name=lambda: configs.config.doors.name,
        titles=lambda: {one.name: one.title for one in configs.config.services},
        bin_s=lambda: configs.config.judging.bin_s,
        config_version=lambda: configs.version,
        config_findings=lambda: configs.findings,
        progress=progress,
    )
