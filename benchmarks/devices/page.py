"""docs/reference/benchmarks-devices.md, from what was measured and nothing else. Called by ``__main__``."""

from collections.abc import Iterator, Mapping

from benchmarks.devices import polls as devices_polls
from benchmarks.devices import reports as devices_reports
from benchmarks.devices import ssh as devices_ssh
from benchmarks.devices.polls import Polls, Rate
from benchmarks.devices.reports import Reports
from benchmarks.devices.run import Found
from benchmarks.page import heading, join, machine_table, met, table

REPORTS_GOAL = 2_000

_HEAD = """\
`make bench` writes this page from what it measures; nothing here is written by hand. The controller is a real
`edgewright serve --insecure-devices` on SQLite, with nothing to train; clients are processes of their own on the same
machine, so that servers and clients share its cores.""".splitlines()

_POLLS = """\
Devices ask for `metadata/timestamp.json`, again and again, over connections that are kept. The whole file is sent
(200), or nothing is new (304), which is what nearly every poll hears. nginx serves the same file from the same folder,
with one worker, in turns with the controller.""".splitlines()

_REPORTS = """\
Each connection sends the next report as soon as the last one was answered, and an answer comes after the report is on
the disk (SQLite, `synchronous = FULL`). Afterwards every device's last acknowledged report is looked for in the
store.""".splitlines()


def write_devices(found: Found, machine: Mapping[str, str]) -> str:
    """Write docs/reference/benchmarks-devices.md."""
    return join(
        ["# Devices", "", *_HEAD],
        _polls(found.polls),
        _reports(found.reports),
        *([] if found.pushes is None else [devices_ssh.section(found.pushes)]),
        _measured(machine),
    )


def _polls(found: Polls) -> Iterator[str]:
    yield from heading("Polls")
    yield from _POLLS
    yield f"{devices_polls.CONNECTIONS} connections, driven by {found.client}; medians."
    yield ""
    yield from table(
        ("answer", "polls a second", "processor time each", "nginx, polls a second", "processor time each", "ratio"),
        [
            _rates("200, the whole file", found.whole, found.nginx_whole),
            _rates("304, nothing new", found.unchanged, found.nginx_unchanged),
        ],
    )


def _rates(what: str, own: Rate, other: Rate | None) -> tuple[str, ...]:
    return (
        what,
        f"{own.per_second:,.0f}",
        f"{own.microseconds:.0f} µs",
        f"{other.per_second:,.0f}" if other else "–",
        f"{other.microseconds:.0f} µs" if other else "–",
        f"{own.per_second / other.per_second:.2f}" if other else "–",
    )


def _reports(found: Reports) -> Iterator[str]:
    yield from heading("Reports")
    yield from _REPORTS
    yield f"{devices_reports.CONNECTIONS} connections, {found.devices:,} devices, {found.seconds:.0f} seconds."
    yield ""
    yield from table(
        ("what", "measured", "goal", "met"),
        [
            (
                "accepted in a second",
                f"{found.per_second:,.0f}",
                f"at least {REPORTS_GOAL:,}",
                met(found.per_second >= REPORTS_GOAL),
            ),
            ("acknowledged and lost", f"{found.lost} of {found.accepted:,}", "none", met(found.lost == 0)),
            ("until the answer, median", f"{1000 * found.p50:.0f} ms", "–", "–"),
            ("until the answer, 99th percentile", f"{1000 * found.p99:.0f} ms", "–", "–"),
            ("the controller's processor time for each", f"{found.microseconds:.0f} µs", "–", "–"),
            ("sent away for a while (503)", f"{found.refused:,}", "–", "–"),
        ],
    )


def _measured(machine: Mapping[str, str]) -> Iterator[str]:
    yield from heading("Measured on")
    yield from machine_table(machine)
    yield from heading("Measure again")
    yield "`make bench`, or this page alone, in some minutes: `python -m benchmarks devices`. A busy machine"
    yield "gives worse figures: look at the load before."
