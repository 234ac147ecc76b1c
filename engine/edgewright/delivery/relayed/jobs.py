"""Steps that every server's sync takes with jobs: start the next, drop cancelled ones, fail rejected ones."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

from edgewright.core.fleet import twins
from edgewright.core.fleet.routes import Route
from edgewright.core.fleet.twins import Stage, Twin
from edgewright.delivery.relayed.twin_writes import TwinWrites, dropped
from edgewright.errors import EdgewrightError


def is_cancelling(twin: Twin) -> bool:
    """Return whether a device's current job is to be cancelled."""
    return twin.job is not None and twin.job.stage is Stage.CANCELLING


def next_jobs(
    writes: TwinWrites, routes: Mapping[str, Route], current: Mapping[str, Twin], clock: Callable[[], datetime]
) -> dict[str, Twin]:
    """Give idle devices the job that their assignment asks for; return the twins that changed."""

    def work(twin: Twin) -> Twin:
        return twins.next_job(twin, clock())

    return writes.change(
        [device for device, twin in current.items() if device in routes and work(twin) is not twin], work
    )


def drop_unsent(
    writes: TwinWrites, cancelled: Sequence[Twin], find: Callable[[Sequence[Twin]], dict[str, Twin]], now: datetime
) -> dict[str, Twin]:
    """Drop cancelled jobs that the server was never told of; return the twins that changed.

    Args:
        writes: Changes the twins.
        cancelled: Twins of which it is not known whether the server was told.
        find: Searches the server for their jobs; returns the twins that have one.
        now: The time.
    """
    found = find(cancelled)
    jobs = {twin.device: twin.job.number for twin in cancelled if twin.device not in found and twin.job is not None}

    def work(twin: Twin) -> Twin:
        return dropped(twin, jobs[twin.device], now) if is_cancelling(twin) else twin

    return found | writes.change(jobs, work)


def reject(
    writes: TwinWrites,
    waiting: Sequence[Twin],
    error: EdgewrightError,
    now: datetime,
    *,
    unless: Callable[[Twin], bool] = lambda _: False,
) -> None:
    """Fail jobs whose bundle or order was refused, ``unless`` the server has the job after all."""
    message = f"{error.message}; {error.hint}" if error.hint else error.message
    jobs = {twin.device: twin.job.number for twin in waiting if twin.job is not None}

    def work(twin: Twin) -> Twin:
        return twin if unless(twin) else twins.fail(twin, jobs[twin.device], now, "Rejected", message)

    writes.change(jobs, work)
