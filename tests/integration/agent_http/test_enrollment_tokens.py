"""Tokens and inventories that let agents in; on a real store with real keys."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest

from devices.http_agents import Key, csr, new_key
from edgewright.delivery.identity.enrollment import EnrollmentOutcome
from edgewright.ports import IdentityStatus
from edgewright_wire.enrollment import EnrollmentRequest, PendingEnrollment
from worlds.enrollment import World, refused

PATIENCE = 60


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    for state in made.states:
        state.close()


def test_a_token_lets_in_as_many_devices_as_it_may(world: World) -> None:
    token = world.token(uses=2, region="eu", allowed=("camera", "region"))
    first, second, third = new_key(), new_key(), new_key()

    assert world.ask(first, "lane-1", token=token, region="us", camera="2").status == 200
    assert world.ask(first, "lane-1", token=token).status == 200, "the same key uses nothing up"
    assert world.ask(second, "lane-2", token=token).status == 200
    assert world.ask(third, "lane-3", token=token).status == 202
    assert world.state.enrolled()["lane-1"] == {"region": "eu", "camera": "2"}
    (listed,) = world.enrollment.tokens.tokens()
    assert (listed.problem(world.now), sorted(listed.used.values())) == ("used up", ["lane-1", "lane-2"])
    assert token not in repr(listed)


def test_a_token_that_has_ended_leaves_the_device_to_an_operator(world: World) -> None:
    expired, revoked = world.token(life=timedelta(minutes=5)), world.token()
    world.now += timedelta(minutes=5)
    last = world.enrollment.tokens.tokens()[-1].name
    names = {token.name for token in world.enrollment.tokens.tokens()}
    assert len(names) == 2
    for name in names:
        world.enrollment.tokens.revoke(name, world.now)
    assert not world.enrollment.tokens.revoke("nobody", world.now)
    assert last in names

    for device, token in (("lane-1", expired), ("lane-2", revoked), ("lane-3", "ewt_nonsense")):
        assert world.ask(new_key(), device, token=token).status == 202
    assert world.state.enrolled() == {}


def test_why_a_token_is_not_accepted_is_kept_for_operators_and_told_to_nobody_else(world: World) -> None:
    expired = world.token(life=timedelta(minutes=5))
    used, revoked = world.token(), world.token()
    world.ask(new_key(), "lane-0", token=used)
    found = world.enrollment.tokens.find(revoked)
    assert found is not None
    world.enrollment.tokens.revoke(found.name, world.now)
    world.now += timedelta(minutes=5)
    sent = {"lane-1": (expired, "expired"), "lane-2": (used, "used up"), "lane-3": (revoked, "revoked")}
    sent["lane-4"] = ("ewt_nonsense", "unknown")

    key, said = new_key(), set()
    for device, (token, why) in sent.items():
        key = new_key()
        answer = world.ask(key, device, token=token)
        assert isinstance(answer.said, PendingEnrollment)
        said.add((answer.status, answer.retry_after, answer.said.token_accepted, answer.note))
        (pending,) = world.operators.identities(device)
        assert (pending.status, pending.detail["tokenProblem"], answer.token) == (IdentityStatus.PENDING, why, why)
    assert said == {(202, 60, False, "pending")}

    without = world.ask(key, "lane-4")
    assert b"token" not in without.said.to_bytes(), "as it was before"
    assert world.operators.identities("lane-4")[0].detail["tokenProblem"] is None
    assert world.ask(key, "lane-4", token=world.token()).status == 200


def test_an_operators_labels_count_before_the_tokens_and_the_devices_own(world: World) -> None:
    world.state.enroll({"lane-1": {"ring": "stable", "site": "a"}})
    token = world.token(uses=3, region="eu", site="b", allowed=("camera", "zone=1"))

    def ask(device: str, zone: str, token: str | None = token) -> EnrollmentOutcome:
        said = {"ring": "canary", "site": "c", "region": "us", "camera": "2", "zone": zone}
        asked = EnrollmentRequest(device=device, labels=said, csr=csr(new_key(), device), token=token)
        return world.enrollment.enroll(asked, "192.0.2.1")

    admitted = ask("lane-1", "1")
    assert world.state.enrolled()["lane-1"] == {
        "ring": "stable", "site": "a", "region": "eu", "camera": "2", "zone": "1"
    }  # fmt: skip
    assert admitted.note == "admitted; what it says of itself is not taken: region, ring, site"
    ask("lane-2", "2")
    assert world.state.enrolled()["lane-2"] == {"site": "b", "region": "eu", "camera": "2"}
    world.listed = {"lane-3"}
    ask("lane-3", "1", None)
    assert world.state.enrolled()["lane-3"] == {}
    assert [each.allowed for each in world.enrollment.tokens.tokens()] == [("camera", "zone=1")]


def test_a_listed_device_is_admitted_whatever_its_token(world: World) -> None:
    token = world.token()
    world.ask(new_key(), "lane-0", token=token)
    world.listed = {"lane-1"}
    assert world.ask(new_key(), "lane-1", token=token).status == 200


def test_tokens_that_ended_long_ago_are_forgotten(world: World) -> None:
    world.token(life=timedelta(hours=1))
    world.now += timedelta(days=40)
    world.token()
    assert [token.made_at for token in world.enrollment.tokens.tokens()] == [world.now]


def test_a_listed_device_is_admitted_where_the_inventory_is_enough_and_only_its_first_key(world: World) -> None:
    world.listed = {"lane-1", "lane-2"}
    first = new_key()
    assert world.ask(first, "lane-1").status == 200
    assert refused(world.ask(new_key(), "lane-1")) == (403, "OtherKey")
    assert world.ask(new_key(), "lane-9").status == 202

    world.operators.retire("lane-1")
    assert world.ask(new_key(), "lane-1").status == 202, "whoever was retired does not come back by name alone"
    assert world.ask(new_key(), "lane-1", token=world.token()).status == 202


def test_of_devices_that_race_for_a_tokens_last_use_one_is_let_in(world: World) -> None:
    token = world.token(uses=1)
    keys = [new_key() for _ in range(6)]
    ready = threading.Barrier(len(keys))

    def ask(at: int) -> int:
        mine = world.another()
        ready.wait(PATIENCE)
        return world.ask(keys[at], f"lane-{at}", of=mine, token=token).status

    with ThreadPoolExecutor(len(keys)) as pool:
        assert sorted(pool.map(ask, range(len(keys)))) == [200] + [202] * (len(keys) - 1)
    assert len(world.operators.identities(status=IdentityStatus.ACCEPTED)) == 1


def test_of_keys_that_race_for_one_name_one_is_let_in(world: World) -> None:
    token = world.token(uses=100)
    keys = [new_key() for _ in range(6)]
    ready = threading.Barrier(len(keys))

    def ask(key: Key) -> int:
        mine = world.another()
        ready.wait(PATIENCE)
        return world.ask(key, "lane-1", of=mine, token=token).status

    with ThreadPoolExecutor(len(keys)) as pool:
        answers = list(pool.map(ask, keys))
    assert answers.count(200) == 1
    assert world.statuses("lane-1").count("accepted") == 1
    again = [world.ask(key, "lane-1", token=token).status for key in keys]
    assert [status == 200 for status in again] == [status == 200 for status in answers]
