"""Whose turn it is."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from edgewright.delivery.pushed.ssh.schedule import ScheduledDevice, SessionSchedule

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def scheduled(device: str, *, work: bool = False, seen: datetime | None = NOW, at_once: int = 20) -> ScheduledDevice:
    return ScheduledDevice(device, "stores", at_once, 5 * MINUTE, work, seen)


def names(found: list[ScheduledDevice]) -> list[str]:
    return [each.device for each in found]


def test_work_comes_first_then_strangers_then_who_was_not_looked_at_for_longest() -> None:
    schedule = SessionSchedule(lambda: 0.5)
    devices = [
        scheduled("rested", seen=NOW - 6 * MINUTE),
        scheduled("longest", seen=NOW - 60 * MINUTE),
        scheduled("lately", seen=NOW - MINUTE),
        scheduled("stranger", seen=None),
        scheduled("working", work=True),
    ]
    assert names(schedule.due(devices, {}, NOW)) == ["working", "stranger", "longest", "rested"]
    assert schedule.next_due([devices[2]], []) == NOW + 4 * MINUTE


def test_only_so_many_at_once_of_each_fleet() -> None:
    schedule = SessionSchedule(lambda: 0.5)
    ours = [scheduled(f"lane-{n}", work=True, at_once=3) for n in range(9)]
    others = [replace(scheduled(f"door-{n}", work=True, at_once=2), fleet="doors") for n in range(9)]
    found = schedule.due([*ours, *others], {"lane-0": "stores", "lane-1": "stores"}, NOW)
    assert names(found) == ["door-0", "door-1", "lane-2"]


def test_devices_that_are_away_are_tried_again_sooner_where_an_assignment_waits() -> None:
    schedule = SessionSchedule(lambda: 0.5)
    waits = []
    for _ in range(12):
        schedule.record("d", NOW, failed=True)
        waits.append(
            (schedule.next_attempt(scheduled("d", work=True)) - NOW, schedule.next_attempt(scheduled("d")) - NOW)
        )
    with_work, at_rest = [work for work, _ in waits], [rest for _, rest in waits]
    assert with_work[0] == timedelta(seconds=5)
    assert max(with_work) == MINUTE
    assert at_rest[0] == timedelta(seconds=30)
    assert max(at_rest) == 5 * MINUTE, "a device that comes back is found within minutes"
    assert with_work == sorted(with_work)

    schedule.record("d", NOW, failed=False)
    assert schedule.next_attempt(scheduled("d")) == NOW + 5 * MINUTE
    assert NOW < schedule.next_attempt(scheduled("d", work=True)) <= NOW + timedelta(seconds=1)


def test_a_device_that_is_reached_in_another_way_is_tried_at_once() -> None:
    schedule = SessionSchedule(lambda: 0.5)
    for device in ("corrected", "as-before"):
        for _ in range(5):
            schedule.record(device, NOW, failed=True)

    schedule.reset_failures(["corrected", "never-tried"])

    assert schedule.next_attempt(scheduled("corrected", work=True)) < NOW
    assert schedule.next_attempt(scheduled("as-before", work=True)) > NOW + MINUTE / 2


def test_devices_that_failed_together_are_not_tried_again_together() -> None:
    jitter = iter([0.0, 0.99])
    schedule = SessionSchedule(lambda: next(jitter))
    for device in ("a", "b"):
        schedule.record(device, NOW, failed=True)
    first, second = (schedule.next_attempt(scheduled(device)) for device in ("a", "b"))
    assert second - first > timedelta(seconds=10)


def test_devices_that_are_in_no_fleet_any_more_are_forgotten() -> None:
    schedule = SessionSchedule(lambda: 0.5)
    schedule.record("d", NOW, failed=True)
    schedule.retain([])
    assert names(schedule.due([scheduled("d", seen=None)], {}, NOW)) == ["d"]
