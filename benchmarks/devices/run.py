"""What devices cost the controller: each part is a module of its own. Called by ``__main__``."""

from collections.abc import Mapping
from dataclasses import dataclass

from benchmarks import machine
from benchmarks.devices import polls as devices_polls
from benchmarks.devices import reports as devices_reports
from benchmarks.devices import served as devices_served
from benchmarks.devices import ssh as devices_ssh
from benchmarks.preparing import folder, say


@dataclass(frozen=True, slots=True)
class Scale:
    """How much is measured."""

    poll_seconds: float = 2.0
    times: int = 3
    report_seconds: float = 10.0
    pushes: int = devices_ssh.TIMES
    hosts: int = devices_ssh.HOSTS
    """Hosts that are pushed to; 0 leaves pushing out."""


FULL = Scale()
QUICK = Scale(poll_seconds=1.0, times=1, report_seconds=1.0, pushes=1, hosts=3)


@dataclass(frozen=True, slots=True)
class Found:
    """All parts."""

    polls: devices_polls.Polls
    reports: devices_reports.Reports
    pushes: devices_ssh.Pushes | None
    """None where pushing was left out."""


def measure(scale: Scale) -> tuple[Found, Mapping[str, str]]:
    """Measure all parts; pushing over SSH takes minutes, the rest less than one."""
    described = machine.describe()
    with folder() as made:
        work = devices_served.prepare(made)
        published = work / ".edgewright/repository"
        with devices_served.controller(work) as (served, url), devices_served.nginx(made, published) as beside:
            say("polling")
            polls = devices_polls.measure(url, served.pid, beside, scale.poll_seconds, scale.times)
            say("reporting")
            state = work / ".edgewright/state.db"
            reports = devices_reports.measure(url, served.pid, state, scale.report_seconds)
    if scale.hosts == 0:
        return Found(polls, reports, None), described
    say("pushing over SSH")
    return Found(polls, reports, devices_ssh.measure(scale.pushes, scale.hosts)), described
