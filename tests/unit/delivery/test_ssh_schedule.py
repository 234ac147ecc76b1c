"""Whose turn it is."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from edgewright.delivery.pushed.ssh.schedule import Schedule, Subject

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def subject(device: str, *, work: bool = False, seen: datetime | None = NOW, at_once: int = 20) -> Subject:
    return Subject(device, "stores", at_once, 5 * MINUTE, work, seen)


def names(found: list[Subject]) -> list[str]:
    return [each.device for each in found]


def test_work_comes_first_then_strangers_then_who_was_not_looked_at_for_longest() -> None:
    schedule = Schedule(lambda: 0.5)
    subjects = [
        subject("rested", seen=NOW - 6 * MINUTE),
        subject("longest", seen=NOW - 60 * MINUTE),
        subject("lately", seen=NOW - MINUTE),
        subject("stranger", seen=None),
        subject("working", work=True),
    ]
    assert names(schedule.due(subjects, {}, NOW)) == ["working", "stranger", "longest", "rested"]
    assert schedule.next_turn([subjects[2]], []) == NOW + 4 * MINUTE


def test_only_so_many_at_once_of_each_fleet() -> None:
    schedule = Schedule(lambda: 0.5)
    ours = [subject(f"lane-{n}", work=True, at_once=3) for n in range(9)]
    others = [replace(subject(f"door-{n}", work=True, at_once=2), fleet="doors") for n in range(9)]
    found = schedule.due([*ours, *others], {"lane-0": "stores", "lane-1": "stores"}, NOW)
    assert names(found) == ["door-0", "door-1", "lane-2"]


def test_devices_that_are_away_are_tried_again_sooner_where_an_assignment_waits() -> None:
    schedule = Schedule(lambda: 0.5)
    waits = []
    for _ in range(12):
        schedule.ended("d", NOW, failed=True)
        waits.append((schedule.turn(subject("d", work=True)) - NOW, schedule.turn(subject("d")) - NOW))
    with_work, at_rest = [work for work, _ in waits], [rest for _, rest in waits]
    assert with_work[0] == timedelta(seconds=5)
    assert max(with_work) == MINUTE
    assert at_rest[0] == timedelta(seconds=30)
    assert max(at_rest) == 5 * MINUTE, "a device that comes back is found within minutes"
    assert with_work == sorted(with_work)

    schedule.ended("d", NOW, failed=False)
    assert schedule.turn(subject("d")) == NOW + 5 * MINUTE
    assert NOW < schedule.turn(subject("d", work=True)) <= NOW + timedelta(seconds=1)


def test_a_device_that_is_reached_in_another_way_is_tried_at_once() -> None:
    schedule = Schedule(lambda: 0.5)
    for device in ("corrected", "as-before"):
        for _ in range(5):
            schedule.ended(device, NOW, failed=True)

    schedule.forgive(["corrected", "never-tried"])

    assert schedule.turn(subject("corrected", work=True)) < NOW
    assert schedule.turn(subject("as-before", work=True)) > NOW + MINUTE / 2


def test_devices_that_failed_together_are_not_tried_again_together() -> None:
    luck = iter([0.0, 0.99])
    schedule = Schedule(lambda: next(luck))
    for device in ("a", "b"):
        schedule.ended(device, NOW, failed=True)
    first, second = (schedule.turn(subject(device)) for device in ("a", "b"))
    assert second - first > timedelta(seconds=10)


def test_devices_that_are_in_no_fleet_any_more_are_forgotten() -> None:
    schedule = Schedule(lambda: 0.5)
    schedule.ended("d", NOW, failed=True)
    schedule.keep([])
    assert names(schedule.due([subject("d", seen=None)], {}, NOW)) == ["d"]
