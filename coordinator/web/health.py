"""`/healthz` for a supervisor and `/metrics` for Prometheus."""

from __future__ import annotations

from functools import partial
from typing import Any, Final

from aiohttp import web

from coordinator.store import serving
from coordinator.web.api import DESK, reply
from coordinator.web.desk import Desk
from coordinator.web.metrics import CONTENT_TYPE, Metric, render, single

_COUNTED: Final = {
    "accepted": "Reports taken from probes since the start.",
    "committed": "Reports committed since the start.",
    "duplicate": "Reports that had been committed before.",
    "deferred": "Reports handed back because the store could not take them.",
}

routes = web.RouteTableDef()


@routes.get("/healthz")
async def healthz(request: web.Request) -> web.Response:
    """200 while reports are taken, 503 with the reason while they are not.

    A configuration file that was refused is told beside it: what was in force stays.
    """
    desk = request.app[DESK]
    refused = desk.config_findings()
    beside = {"configuration_refused": list(refused)} if refused else {}
    trouble = desk.trouble()
    if trouble is not None:
        return reply({"ok": False, "trouble": trouble, **beside}, status=503)
    return reply({"ok": True, **beside})


@routes.get("/metrics")
async def metrics(request: web.Request) -> web.Response:
    """Counters and gauges."""
    desk = request.app[DESK]
    text = render(await desk.ask(partial(_metrics, desk=desk)))
    return web.Response(body=text.encode(), headers={"Content-Type": CONTENT_TYPE})


_SUMMED: Final = {
    "spool_rows": "Rows that wait in the spools of probes.",
    "evicted_rows": "Rows that probes lost for want of room, ever.",
    "overloaded_slots": "Slots that probes gave up since their start because they were too busy.",
    "receive_drops": "Replies that the kernels of probes dropped.",
}
"""Sums over the fleet: five thousand probes with a series for each figure would be a load of its own."""

_LATENESS: Final = "lateness_ms_p99"

_PLACES: Final = {"asn": "AS", "country": "country"}


def _of_fleet(fleet: list[serving.Record]) -> list[Metric]:
    """What probes last said, summed, and the worst lateness; nothing where nobody said anything."""
    probes = [probe for probe in fleet if probe["state"] != "revoked"]
    said = {
        column: [probe[column] for probe in probes if probe[column] is not None]
        for column in (*_SUMMED, _LATENESS)
    }
    found = [single("soundings_probes", "Probes that are not revoked, here or not.", len(probes))]
    for column, meaning in _SUMMED.items():
        if said[column]:
            found.append(single(f"soundings_probes_{column}", meaning, sum(said[column])))
    for state in ("quarantined", "revoked"):
        count = sum(probe["state"] == state for probe in probes)
        found.append(single(f"soundings_probes_{state}", f"Probes that are {state}.", count))
    for fact, name in _PLACES.items():
        both = [p for p in probes if None not in {p[f"declared_{fact}"], p[f"seen_{fact}"]}]
        differ = sum(p[f"declared_{fact}"] != p[f"seen_{fact}"] for p in both)
        meaning = f"Probes that are seen in another {name} than was declared."
        found.append(single(f"soundings_probes_{fact}_differs", meaning, differ))
    if said[_LATENESS]:
        meaning = "The latest probe's 99th percentile of how late checks start."
        late_s = max(said[_LATENESS]) / 1000
        found.append(single("soundings_probes_lateness_max_seconds", meaning, late_s))
    covered: dict[tuple[tuple[str, str], ...], float] = {
        (("figure", column),): len(figures) for column, figures in said.items()
    }
    meaning = "How many probes a figure is of: those that said it within a day."
    return [
        *found,
        Metric(name="soundings_probes_covered", meaning=meaning, type="gauge", samples=covered),
    ]


def _of_reports(cursor: Any, desk: Desk) -> list[Metric]:
    counts = desk.counts()
    return [
        *(
            single(f"soundings_reports_{name}_total", meaning, getattr(counts, name), counter=True)
            for name, meaning in _COUNTED.items()
        ),
        Metric(
            name="soundings_reports_rejected_total",
            meaning="Refused reports on record, by reason.",
            type="counter",
            samples={
                (("reason", row["reason"]),): row["reports"] for row in serving.rejects(cursor)
            },
        ),
        Metric(
            name="soundings_refused_total",
            meaning="Connections, calls and sessions refused since the start, by door and reason.",
            type="counter",
            samples={
                (("door", door), ("reason", reason)): times
                for (door, reason), times in desk.refusals().items()
            },
        ),
        single(
            "soundings_rows_total", "Rows committed since the start.", counts.rows, counter=True
        ),
    ]


def _of_coordinator(desk: Desk) -> list[Metric]:
    refused = "1 while the configuration file does not validate, and the one before is in force."
    version = "Configuration version in force."
    return [
        single("soundings_sessions", "Probes connected now.", desk.sessions()),
        single("soundings_config_version", version, desk.config_version()),
        single("soundings_config_refused", refused, bool(desk.config_findings())),
        single("soundings_store_trouble", "1 while nothing is taken.", desk.trouble() is not None),
    ]


_JUDGED: Final = {
    "soundings_windows_judged_total": ("windows", "Windows judged."),
    "soundings_verdicts_total": ("verdicts", "Verdicts written."),
    "soundings_verdict_revisions_total": ("revisions", "Verdicts that revise an earlier one."),
    "soundings_verdicts_changed_total": (
        "changed",
        "Revisions that say something else than the verdict before.",
    ),
    "soundings_judging_failures_total": ("failures", "Failed rounds."),
}


def _of_judging(desk: Desk) -> list[Metric]:
    progress, judged_to_us = desk.progress, desk.progress.judged_to_us
    found = [
        single(name, meaning, getattr(progress, field), counter=True)
        for name, (field, meaning) in _JUDGED.items()
    ]
    waiting = "Windows that wait to be judged."
    found.append(single("soundings_judging_backlog", waiting, progress.backlog))
    if judged_to_us is not None:
        lag_s = (desk.wall() - judged_to_us) / 1_000_000
        age = "Age of the newest judged window."
        found.append(single("soundings_judging_lag_seconds", age, lag_s))
    return found


def _metrics(cursor: Any, *, desk: Desk) -> list[Metric]:
    fleet = serving.fleet(cursor, now_us=desk.wall())
    return [
        *_of_reports(cursor, desk),
        *_of_coordinator(desk),
        *_of_fleet(fleet),
        *_of_judging(desk),
    ]
