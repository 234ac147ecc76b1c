"""Presence of devices: when a report arrived, by the engine's clock. A device's own clock is only shown.

Stamped where reports arrive (``server.devices``, ``delivery.agent``), kept with them; rollouts and status read it.
"""

from datetime import datetime, timedelta

from pydantic import AwareDatetime

from edgewright_wire.messages import Report

FAR = timedelta(minutes=10)
"""Time after which a name is heard whatever was said before; distance at which a device's own time says nothing."""
_WORTH_A_WORD = timedelta(minutes=2)


class ReceivedReport(Report):
    """A report, and when it arrived. Never sent: what a device says under this name is ignored."""

    received_at: AwareDatetime | None = None
    """By the engine's clock; None in what earlier versions stored."""

    def __eq__(self, other: object) -> bool:
        """Compare with any report by what the device says."""
        if not isinstance(other, Report):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in Report.model_fields)

    def __hash__(self) -> int:
        return hash((self.device, self.sequence))

    @staticmethod
    def stamp(report: Report, at: datetime) -> "ReceivedReport":
        """Note when a report arrived; one that is stamped keeps its time."""
        if isinstance(report, ReceivedReport) and report.received_at is not None:
            return report
        return ReceivedReport.model_construct(
            **{name: getattr(report, name) for name in Report.model_fields}, received_at=at
        )


def parse_report(body: str) -> Report:
    """Read a stored report, with the time of its arrival where that is known.

    Raises:
        pydantic.ValidationError: It is none.
    """
    kind = ReceivedReport if '"receivedAt":' in body else Report
    return kind.from_bytes(body.encode())


def received_at(report: Report) -> datetime:
    """Return when a report arrived, or was sent, where it is not known."""
    stamped = report.received_at if isinstance(report, ReceivedReport) else None
    return stamped or report.sent_at


def last_seen(report: Report, now: datetime) -> datetime | None:
    """Return when a device was seen last; never later than now.

    None where all that is known is a time in the far future, which an earlier version believed.
    """
    at = received_at(report)
    if at > now + FAR and not (isinstance(report, ReceivedReport) and report.received_at):
        return None
    return min(at, now)


def clock_skew(report: Report) -> timedelta:
    """Return how far a device's clock is ahead of the engine's; zero where it is not known, or not worth a word."""
    stamped = report.received_at if isinstance(report, ReceivedReport) else None
    skew = report.sent_at - stamped if stamped is not None else timedelta(0)
    return skew if abs(skew) >= _WORTH_A_WORD else timedelta(0)


def is_doubtful(newest: Report, now: datetime) -> bool:
    """Return whether a device's newest report may be replaced by one with a lower sequence.

    A device whose clock jumped, or that lost its disk and its clock, is heard again after ``FAR`` at the latest; what
    comes sooner may be a late copy. Of a report that an earlier version stored, its own time is all there is.
    """
    stamped = newest.received_at if isinstance(newest, ReceivedReport) else None
    return now > stamped + FAR if stamped is not None else not now - FAR <= newest.sent_at <= now + FAR
