"""Maintenance windows: whether one is open, and when that changes. Called by ``machine`` and ``run``."""

from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

from edgewright_schemas.rollout import Window


class Opening(NamedTuple):
    """Return whether a window is open now."""

    open: bool
    until: datetime | None
    """UTC: when an open window closes, or a closed one opens; None when it never opens."""


def in_window(window: Window, now: datetime) -> Opening:
    """Look up a window at an aware time.

    A window opens at each time its cron expression names in its time zone and stays open for its duration of
    elapsed time, the closing instant excluded; a change of the clocks inside it neither shortens nor lengthens it.
    """
    from croniter import CroniterBadDateError, croniter

    zone = ZoneInfo(window.time_zone)
    next_minute = now.astimezone(UTC).replace(second=0, microsecond=0) + timedelta(minutes=1)
    try:
        opened: datetime = croniter(window.cron, next_minute.astimezone(zone)).get_prev(datetime)
        closes = opened.astimezone(UTC) + window.duration
        if now < closes:
            return Opening(True, closes)
    except CroniterBadDateError:
        pass
    try:
        opens: datetime = croniter(window.cron, now.astimezone(zone)).get_next(datetime)
    except CroniterBadDateError:
        return Opening(False, None)
    return Opening(False, opens.astimezone(UTC))
