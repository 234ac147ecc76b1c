"""Identities: the keys that devices ask with, and what operators decide; every store passes."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import timedelta

import pytest

from edgewright.ports import Identity, IdentityStatus
from edgewright.state.twins import SqlIdentities
from worlds.twin_stores import NOW, Store, asking, race


def statuses(kept: SqlIdentities, device: str) -> dict[str, str]:
    return {each.key.removeprefix("sha256:"): each.status.value for each in kept.identities(device=device)}


def test_an_identity_is_kept_whole(store: Store) -> None:
    kept = store.identities()
    asked = replace(asking("a", "1", region="eu"), detail={"serial": "7f", "numbers": [1, 2]})

    assert kept.ask(asked) == asked
    assert store.identities().identity("agent", "sha256:1") == asked
    assert kept.identity("mender", "sha256:1") is None
    assert [kept.count("agent", status) for status in (IdentityStatus.PENDING, IdentityStatus.ACCEPTED)] == [1, 0]
    assert kept.count("mender", IdentityStatus.PENDING) == 0


def test_asking_again_brings_newer_labels_and_moves_nothing(store: Store) -> None:
    kept = store.identities()
    kept.ask(replace(asking("a", "1", region="eu"), detail={"serial": "7f"}))
    kept.decide("agent", "sha256:1", IdentityStatus.ACCEPTED, NOW)

    again = kept.ask(replace(asking("a", "1", minutes=9, region="us"), detail={"peer": "10.0.0.1"}))

    assert (again.status, again.asked_at, again.labels) == (IdentityStatus.ACCEPTED, NOW, {"region": "us"})
    assert again.detail == {"serial": "7f", "peer": "10.0.0.1"}


def test_a_key_stays_with_its_device(store: Store) -> None:
    kept = store.identities()
    kept.ask(asking("a", "1"))

    assert kept.ask(asking("b", "1")).device == "a"
    assert kept.identities(device="b") == []


def test_accepting_a_key_retires_the_devices_others_of_the_system_alone(store: Store) -> None:
    kept = store.identities()
    for number, device in enumerate(("a", "a", "a", "b")):
        kept.ask(asking(device, f"{device}{number}", minutes=number))
    kept.ask(replace(asking("a", "other"), system="mender"))
    kept.decide("mender", "sha256:other", IdentityStatus.ACCEPTED, NOW)
    kept.decide("agent", "sha256:a0", IdentityStatus.ACCEPTED, NOW)
    kept.decide("agent", "sha256:b3", IdentityStatus.ACCEPTED, NOW)

    decided = kept.decide("agent", "sha256:a1", IdentityStatus.ACCEPTED, NOW + timedelta(minutes=1))

    assert decided is not None
    assert decided.decided_at == NOW + timedelta(minutes=1)
    assert statuses(kept, "a") == {"a0": "retired", "a1": "accepted", "a2": "pending", "other": "accepted"}
    assert statuses(kept, "b") == {"b3": "accepted"}
    assert kept.decide("agent", "sha256:nobody", IdentityStatus.ACCEPTED, NOW) is None


def test_identities_are_listed_by_device_and_time_and_chosen(store: Store) -> None:
    kept = store.identities()
    for device, key, minutes in (("b", "1", 0), ("a", "2", 5), ("a", "3", 1)):
        kept.ask(asking(device, key, minutes))
    kept.decide("agent", "sha256:2", IdentityStatus.REJECTED, NOW)

    assert [each.key for each in kept.identities()] == ["sha256:3", "sha256:2", "sha256:1"]
    assert [each.key for each in kept.identities(status=IdentityStatus.PENDING)] == ["sha256:3", "sha256:1"]
    assert [each.key for each in kept.identities(system="agent", device="a")] == ["sha256:3", "sha256:2"]
    assert kept.identities(system="ddi") == []


def test_many_keys_are_found_at_once(store: Store) -> None:
    kept = store.identities()
    for number in range(12):
        kept.ask(asking(f"d{number}", str(number)))

    found = kept.known("agent", [f"sha256:{number}" for number in range(5, 1200)])

    assert sorted(found) == sorted(f"sha256:{number}" for number in range(5, 12))
    assert found["sha256:7"].device == "d7"
    assert kept.known("agent", []) == {}


def test_notes_add_to_what_is_kept_with_a_key(store: Store) -> None:
    kept = store.identities()
    kept.ask(replace(asking("a", "1"), detail={"serial": "1", "peer": "x"}))
    kept.note("agent", "sha256:1", {"serial": "2", "until": None})
    kept.note("agent", "sha256:nobody", {"serial": "2"})

    found = kept.identity("agent", "sha256:1")
    assert found is not None
    assert found.detail == {"serial": "2", "peer": "x", "until": None}


def test_all_keys_of_a_device_change_together_or_not_at_all(store: Store) -> None:
    kept = store.identities()
    kept.ask(asking("b", "taken"))
    kept.ask(asking("a", "1"))

    def work(known: Sequence[Identity]) -> Iterable[Identity]:
        yield replace(known[0], status=IdentityStatus.REJECTED)
        yield asking("a", "2", minutes=1)
        yield asking("a", "taken")

    after = kept.change("agent", "a", work)

    assert [(each.key, each.status.value) for each in after] == [("sha256:1", "rejected"), ("sha256:2", "pending")]
    assert statuses(kept, "a") == {"1": "rejected", "2": "pending"}
    assert statuses(kept, "b") == {"taken": "pending"}

    def fails(known: Sequence[Identity]) -> Iterable[Identity]:
        yield replace(known[0], status=IdentityStatus.ACCEPTED)
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        kept.change("agent", "a", fails)
    assert statuses(kept, "a") == {"1": "rejected", "2": "pending"}


def test_keys_are_forgotten(store: Store) -> None:
    kept = store.identities()
    for key in ("1", "2"):
        kept.ask(asking("a", key))
    kept.forget("agent", ["sha256:1", "sha256:nobody"])
    kept.forget("mender", ["sha256:2"])
    kept.forget("agent", [])

    assert statuses(kept, "a") == {"2": "pending"}


def test_of_keys_that_are_accepted_in_a_race_one_counts(store: Store) -> None:
    kept = store.identities()
    keys = ["1", "2", "3", "4"]
    for key in keys:
        kept.ask(asking("a", key))

    def accept(key: str) -> Callable[[], object]:
        mine = store.identities()
        return lambda: mine.decide("agent", f"sha256:{key}", IdentityStatus.ACCEPTED, NOW)

    race(*(accept(key) for key in keys))

    assert sorted(statuses(kept, "a").values()) == ["accepted", "retired", "retired", "retired"]


def test_a_key_that_is_asked_for_in_a_race_is_kept_once(store: Store) -> None:
    store.identities().ask(asking("z", "z"))

    def ask(device: str) -> Callable[[], object]:
        mine = store.identities()
        return lambda: mine.ask(asking(device, "1"))

    race(*(ask(device) for device in ("a", "a", "b", "c")))

    assert len(store.identities().identities(system="agent")) == 2
