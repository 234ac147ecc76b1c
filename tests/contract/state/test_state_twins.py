"""Devices without our agent, who devices are, and reports that came in by HTTP, as every store keeps them."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import timedelta, timezone

import pytest

from edgewright.core.fleet import twins
from edgewright.core.fleet.presence import ReceivedReport
from edgewright.core.fleet.twins import Twin
from edgewright_wire.messages import Assignment, Blob, ModelAssignment, Report
from worlds.twin_stores import NOW, Store, asking, race


def seen(device: str, minutes: int = 0) -> Callable[[Twin], Twin]:
    return lambda twin: twins.seen(twin, NOW + timedelta(minutes=minutes), facts={"hw": device})


def test_a_twin_is_kept_whole(store: Store) -> None:
    release = ModelAssignment(
        model="reader", package=Blob(digest="sha256:" + "a" * 64, size=3), release="sha256:" + "b" * 64
    )
    assignment = Assignment(device="lane-1", version=4, models=(release,))

    def work(twin: Twin) -> Twin:
        changed = twins.seen(twins.assign(twin, assignment, NOW), NOW, facts={"hw": "1"}, device_class="lane")
        return replace(changed, memo={"cursor": [1, 2], "text": "ä"})

    written = store.twins().change("lane-1", "ddi", work)

    assert written is not None
    assert written.job is not None
    assert store.twins().twin("lane-1") == written
    assert store.twins().twin("lane-2") is None


def test_twins_are_listed_in_order_and_by_system(store: Store) -> None:
    kept = store.twins()
    for device, system in (("c", "ssh"), ("a", "ddi"), ("b", "ddi")):
        kept.change(device, system, seen(device))

    assert [twin.device for twin in kept.twins()] == ["a", "b", "c"]
    assert [twin.device for twin in kept.twins("ddi")] == ["a", "b"]
    assert list(kept.systems()) == ["ddi", "ssh"]
    assert kept.twins("mender") == []


def test_only_twins_whose_sequence_differs_are_news(store: Store) -> None:
    kept = store.twins()
    for device in ("a", "b", "c"):
        kept.change(device, "ddi", seen(device))
    known = {twin.device: twin.sequence for twin in kept.twins()}
    kept.change("b", "ddi", seen("b", minutes=5))

    assert [twin.device for twin in kept.twins("ddi", since=known)] == ["b"]
    assert [twin.device for twin in kept.twins("ddi", since={**known, "a": 99})] == ["a", "b"]
    assert len(kept.twins(since={})) == 3


def test_environments_know_nothing_of_each_other(store: Store) -> None:
    store.twins("east").change("a", "ddi", seen("a"))
    store.identities("east").ask(asking("a", "k"))
    store.inbox("east").put([report("a", 1)])

    assert store.twins("west").twins() == []
    assert store.identities("west").identities() == []
    assert store.inbox("west").newer({}) == []
    assert store.identities("west").known("agent", ["sha256:k"]) == {}


def test_none_removes_a_twin(store: Store) -> None:
    kept = store.twins()
    kept.change("a", "ddi", seen("a"))

    assert kept.change("a", "ddi", lambda _: None) is None
    assert kept.twin("a") is None
    kept.change("a", "ddi", lambda _: None)  # it was never there


def test_a_device_of_another_system_begins_anew_and_counts_on(store: Store) -> None:
    kept = store.twins()
    for minutes in (0, 5, 10):
        before = kept.change("a", "ddi", seen("a", minutes))
    assert before is not None

    after = kept.change("a", "mender", lambda twin: twin)

    assert after == Twin("a", "mender", taken=before.taken, sequence=before.sequence, jobs=before.jobs)


def test_what_the_work_raises_leaves_everything_as_it_was(store: Store) -> None:
    kept = store.twins()
    kept.change("a", "ddi", seen("a"))
    before = kept.twins()

    def work(twin: Twin) -> Twin:
        if twin.device == "b":
            raise ValueError("no")
        return replace(twin, sequence=99)

    with pytest.raises(ValueError, match="no"):
        kept.change_all(["a", "b"], "ddi", work)

    assert kept.twins() == before


def test_many_twins_change_in_one_transaction(store: Store) -> None:
    kept = store.twins()
    kept.change_all(["b", "a", "a"], "ssh", lambda twin: replace(twin, sequence=twin.sequence + 1))
    kept.change_all([], "ssh", seen("x"))

    assert [(twin.device, twin.sequence) for twin in kept.twins()] == [("a", 1), ("b", 1)]


def test_changes_that_race_are_all_made(store: Store) -> None:
    """Also when they take devices in other orders, and when the device is new to all of them."""
    store.twins().change("b", "ddi", lambda twin: twin)

    def count(devices: Sequence[str]) -> Callable[[], None]:
        kept = store.twins()

        def work() -> None:
            for _ in range(5):
                kept.change_all(devices, "ddi", lambda twin: replace(twin, sequence=twin.sequence + 1))

        return work

    race(*(count(devices) for devices in (["a", "b"], ["b", "a"], ["b"], ["a", "c", "b"])))

    assert {twin.device: twin.sequence for twin in store.twins().twins()} == {"a": 15, "b": 20, "c": 5}


def report(device: str, sequence: int, minutes: int = 0, **fields: object) -> Report:
    sent = NOW + timedelta(minutes=minutes)
    return Report.model_validate(
        {"device": device, "sequence": sequence, "sentAt": sent, "agentVersion": "1", **fields}
    )


def test_the_newest_report_of_each_device_is_kept(store: Store) -> None:
    inbox = store.inbox()
    inbox.put([report("b", 1), report("a", 2), report("a", 7, message="newest ä"), report("a", 5)])
    inbox.put([report("b", 1), report("a", 6)])
    inbox.put([])

    assert store.inbox().newer({}) == [report("a", 7, message="newest ä"), report("b", 1)]


def test_a_device_that_lost_its_count_is_heard_again(store: Store) -> None:
    inbox = store.inbox()
    inbox.put([report("a", 7)])
    inbox.put([report("a", 1, minutes=-1)])
    assert inbox.newer({}) == [report("a", 7)]
    inbox.put([report("a", 1, minutes=1)])
    assert inbox.newer({}) == [report("a", 1, minutes=1)]


def test_a_clock_of_the_far_future_silences_no_name_for_good(store: Store) -> None:
    inbox, state = store.inbox(), store.state()
    in_2099 = report("a", 4_000_000_000, minutes=60 * 24 * 27_000)
    inbox.put([in_2099], NOW)
    inbox.put([report("a", 7)], NOW)
    assert [each.sequence for each in inbox.newer({})] == [7]
    state.record_reports([in_2099], NOW)
    state.take_inbox(["a"], NOW)
    assert state.reports()["a"].sequence == 7
    stamped = [ReceivedReport.stamp(report("a", sequence, minutes=-500), NOW) for sequence in (9, 8)]
    inbox.put(stamped, NOW)
    inbox.put([report("a", 6, minutes=-500)], NOW + timedelta(minutes=9))
    assert [each.sequence for each in inbox.newer({})] == [9], "it may be a late copy"
    inbox.put([report("a", 6, minutes=-500)], NOW + timedelta(minutes=11))
    assert [each.sequence for each in inbox.newer({})] == [6]


def test_only_what_is_not_known_is_news(store: Store) -> None:
    inbox = store.inbox()
    inbox.put([report(device, 3) for device in ("a", "b", "c")])

    assert [each.device for each in inbox.newer({"a": 3, "b": 2, "c": 9})] == ["b", "c"]


def test_times_of_other_zones_are_compared_as_times(store: Store) -> None:
    inbox = store.inbox()
    inbox.put([report("a", 7)])
    zone = timezone(timedelta(hours=9))
    inbox.put([report("a", 1).model_copy(update={"sent_at": (NOW + timedelta(minutes=1)).astimezone(zone)})])

    assert [each.sequence for each in inbox.newer({})] == [1]


def test_batches_that_race_lose_nothing(store: Store) -> None:
    devices = [f"d{number:03}" for number in range(60)]
    store.inbox().put([report("z", 1)])

    def put(sequence: int, order: Iterable[str]) -> Callable[[], None]:
        inbox, batch = store.inbox(), [report(device, sequence) for device in order]

        def work() -> None:
            for start in range(0, len(batch), 20):
                inbox.put(batch[start : start + 20])

        return work

    race(put(1, devices), put(2, reversed(devices)), put(4, devices[::2] + devices[1::2]), put(3, reversed(devices)))

    assert {each.device: each.sequence for each in store.inbox().newer({"z": 1})} == dict.fromkeys(devices, 4)


def test_reports_move_out_of_the_inbox_by_the_rule_they_came_in_by(store: Store) -> None:
    inbox, state = store.inbox(), store.state()
    state.record_reports([report("b", 9), report("c", 9), report("d", 3)])
    inbox.put([report("a", 1, message="new ä"), report("b", 8), report("c", 1, minutes=1), report("d", 4)])
    store.inbox("east").put([report("a", 7)])
    assert inbox.pending(state.report_sequences()) == ["a", "b", "c", "d"]

    state.take_inbox(["a", "b", "c", "unknown"])

    assert state.reports() == {
        "a": report("a", 1, message="new ä"),
        "b": report("b", 9),
        "c": report("c", 1, minutes=1),
        "d": report("d", 3),
    }
    assert store.inbox().newer({}) == [report("d", 4)], "what was not asked for stays"
    assert store.inbox("east").newer({}) == [report("a", 7)]
    version = state.version()
    state.take_inbox(["a"])
    assert state.version() == version, "there was nothing to move"


def test_a_report_that_comes_in_while_the_inbox_is_emptied_is_not_lost(store: Store) -> None:
    devices = [f"d{number:02}" for number in range(20)]
    reader = store.state()
    reader.record_reports([report(device, 1) for device in devices])

    def put() -> None:
        inbox = store.inbox()
        for sequence in range(2, 12):
            inbox.put([report(device, sequence) for device in devices])

    def take() -> None:
        state = store.state()
        for _ in range(10):
            state.take_inbox(devices)

    race(put, take, take)
    store.state().take_inbox(devices)

    assert reader.report_sequences() == dict.fromkeys(devices, 11)
    assert store.inbox().newer({}) == []
