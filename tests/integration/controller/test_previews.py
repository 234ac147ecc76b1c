"""Previews from the outside: pull requests of a served repository, a mirror of it, and the comments they get."""

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from edgewright.errors import ForgeError, ForgeUnavailable, SourceUnavailable, StateError
from edgewright.render.preview_markdown import MARKER
from edgewright_schemas.repository import Previews
from harness.command_line import HEAD, WHOLE
from harness.preview_world import ENVIRONMENTS, LOOSENED, RETRAIN, STARTED, Files, World, preview_world
from samples.repositories import run_git


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with preview_world(tmp_path, WHOLE) as found:
        yield found


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[World]:
    """With environments."""
    files = {**WHOLE, "edgewright.yaml": ENVIRONMENTS}
    with preview_world(tmp_path, files, ("staging", "production", "archive")) as found:
        yield found


def test_a_pull_request_gets_one_comment_and_one_status(world: World) -> None:
    number = world.pull(RETRAIN)
    done = world.previewer().preview(number)
    assert (done.state, done.wrote) == ("success", True)
    assert done.description == "1 to make, 1 to package, 1 to roll out (2 devices, size known after apply)"
    comment = world.comment(number)
    assert comment == done.comment
    assert comment.startswith(MARKER)
    assert "`training.epochs` 3 → 5" in comment
    assert "live state of 2026-01-05 09:00 UTC" in comment
    assert done.head[:12] in comment
    assert world.states(number) == ["pending", "success"]
    assert world.forge.set[done.head]["edgewright/plan"][-1].url == done.url != ""


def queue(world: World, files: Files, *, base: str = "main") -> str:
    """Put a change into the forge's merge queue; returns the group's commit."""
    run_git(world.work, "checkout", "-q", "-B", "group", "main")
    head = world.edit(files)
    name = f"gh-readonly-queue/{base}/pr-1-{run_git(world.work, 'rev-parse', 'main')}"
    run_git(world.work, "push", "-q", "--force", "origin", f"{head}:refs/heads/{name}")
    run_git(world.work, "checkout", "-q", "main")
    world.upstream.fetch([])
    return head


def group_states(world: World, head: str) -> list[str]:
    return [each.state for each in world.forge.set.get(head, {}).get("edgewright/plan", [])]


def test_a_merge_group_gets_the_status_that_its_queue_waits_for(world: World) -> None:
    previewer = world.previewer()
    head = queue(world, RETRAIN)
    previewer.preview_all(set())
    assert group_states(world, head) == ["pending", "success"]
    assert "1 to make" in world.forge.set[head]["edgewright/plan"][-1].description
    assert not world.forge.said
    previewer.preview_all(None)
    assert group_states(world, head) == ["pending", "success"]
    wrong = queue(world, {"specs/model.yaml": "apiVersion: edgewright.dev/v1alpha1\nkind: Modle\n"})
    elsewhere = queue(world, LOOSENED, base="release/1.x")
    previewer.preview_all(set())
    assert (group_states(world, wrong), group_states(world, elsewhere)) == (["pending", "failure"], ["success"])
    assert not world.events


def test_a_merge_group_waits_for_a_forge_that_is_away(world: World) -> None:
    previewer = world.previewer()
    head = queue(world, RETRAIN)
    world.forge.failures.append(ForgeUnavailable("it is away", retry_after=1))
    previewer.preview_all(set())
    assert group_states(world, head) == []
    world.now += timedelta(seconds=2)
    previewer.preview_all(set())
    assert group_states(world, head) == ["pending", "success"]


def test_the_comment_is_edited_in_place_for_every_push(world: World) -> None:
    number = world.pull(RETRAIN)
    previewer = world.previewer()
    previewer.preview(number)
    world.pull({**LOOSENED, **RETRAIN}, number=number)
    previewer.preview(number)
    (said,) = world.forge.said[number]
    assert said.edits == 1
    assert "GateLoosened" in said.body
    assert world.states(number) == ["pending", "success"]


def test_what_is_planned_is_the_merge_so_that_a_branch_that_lags_takes_nothing_back(world: World) -> None:
    number = world.pull(RETRAIN)
    world.merge_to_main({"specs/thresholds.yaml": WHOLE["specs/thresholds.yaml"].replace("0.9", "0.95")})
    world.previewer().preview(number)
    assert "GateLoosened" not in world.comment(number)
    assert "accuracy ≥ 0.95" in world.comment(number)


def test_conflicts_name_their_paths(world: World) -> None:
    number = world.pull(RETRAIN)
    world.merge_to_main({"specs/model.yaml": WHOLE["specs/model.yaml"].replace("epochs: 3", "epochs: 9")})
    done = world.previewer().preview(number)
    assert (done.state, done.description) == ("failure", "conflicts with main in 1 path")
    assert "- `specs/model.yaml`" in world.comment(number)


def test_wrong_specs_are_listed_with_their_places(world: World) -> None:
    number = world.pull(
        {
            "specs/model.yaml": WHOLE["specs/model.yaml"].replace("epochs", "epoch"),
            "fleets/lanes.csv": "id,store\nlane-1,a\nlane-1,b\n",
        }
    )
    done = world.previewer().preview(number)
    assert done.state == "failure"
    assert "`specs/model.yaml:8:14`: unknown field 'spec.training.epoch'" in world.comment(number)
    assert world.states(number) == ["pending", "failure"]


def test_a_rollout_that_claims_anothers_devices_is_found_before_the_merge(world: World) -> None:
    second = HEAD + "kind: Rollout\nmetadata: {name: second}\nspec: {model: reader, fleet: lanes}\n"
    number = world.pull({"specs/second.yaml": second})
    assert world.previewer().preview(number).state == "failure"
    assert "both claim model/reader on device lane-1" in world.comment(number)


def test_every_environment_that_follows_the_branch_is_in_the_one_comment(shop: World) -> None:
    number = shop.pull({**RETRAIN, **LOOSENED})
    done = shop.previewer().preview(number)
    comment = shop.comment(number)
    assert done.description.startswith("staging: 1 to make")
    assert "#### `staging`" in comment
    assert "#### `production`" in comment
    assert comment.count("GateLoosened") == 1
    assert "archive (follows semver &gt;=1)" in comment


def test_environments_that_come_go_and_turn_elsewhere_are_said(shop: World) -> None:
    changed = ENVIRONMENTS.replace("{name: production, follow: {branch: main}}", "{name: test, follow: {branch: main}}")
    number = shop.pull(
        {"edgewright.yaml": changed.replace("staging, follow: {branch: main}", "staging, follow: {tag: v1}")}
    )
    shop.previewer().preview(number)
    comment = shop.comment(number)
    assert "Environment test would be new" in comment
    assert "Environment production would no longer be declared" in comment
    assert "Environment staging would follow tag v1 instead of branch main" in comment


def test_environments_that_follow_something_else_do_not_change_unseen(shop: World) -> None:
    changed = ENVIRONMENTS.replace("follow: {semver: '>=1'}", "follow: {branch: mine}")
    number = shop.pull({"edgewright.yaml": changed + "    - {name: extra, follow: {branch: mine}}\n"})
    shop.previewer().preview(number)
    comment = shop.comment(number)
    assert "Environment archive would follow branch mine instead of semver" in comment
    assert "Environment extra would be new, and follow branch mine" in comment
    elsewhere = ENVIRONMENTS.replace("follow: {semver: '>=1'}", "follow: {semver: '>=1'}, values: {store: b}")
    number = shop.pull({"edgewright.yaml": elsewhere})
    shop.previewer().preview(number)
    assert "What is declared of environment archive would change" in shop.comment(number)


def test_a_base_that_nothing_follows_is_said(world: World) -> None:
    number = world.pull(RETRAIN, base="experiments")
    done = world.previewer().preview(number)
    assert (done.state, done.description) == ("success", "no environment follows experiments")
    assert "No environment follows branch experiments" in world.comment(number)
    assert world.planned == 0


def test_an_unsigned_head_fails_where_signatures_are_asked_for_and_changed_signers_are_said(tmp_path: Path) -> None:
    key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDIhz2GK/XCUj4i6Q5yQJNL1MKMY0RxzPV2QrBqfHrDq"
    declared = (
        HEAD + "kind: Repository\nmetadata: {name: shop}\nspec: {verification: {ssh: {allowedSigners: signers}}}\n"
    )
    files = {**WHOLE, "edgewright.yaml": declared, "signers": f"ann@example.com {key}\n"}
    with preview_world(tmp_path, files) as world:
        number = world.pull({**RETRAIN, "signers": f"mallory@example.com {key}\n"})
        done = world.previewer().preview(number)
        assert (done.state, done.description) == ("failure", "not signed as the repository asks")
        comment = world.comment(number)
        assert "UnverifiedSigner" in comment
        assert "SignersChanged" in comment
        assert "training.epochs" in comment


def test_nothing_of_a_pull_request_is_run(world: World, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    touch = f"import pathlib\npathlib.Path({json.dumps(str(mark))}).touch()\n"
    dataset = WHOLE["specs/dataset.yaml"].replace(
        "{uri: data/tags.csv, format: csv}",
        "{uri: 'code/rows.py:rows', format: python}\n  steps: [{use: 'code/rows.py:step'}]",
    )
    made = HEAD + "kind: Model\nmetadata: {name: made}\nspec:\n  task: tabular-classification\n  dataset: tags\n"
    number = world.pull(
        {
            "specs/dataset.yaml": dataset,
            "specs/model.yaml": WHOLE["specs/model.yaml"].replace(
                "{use: mlp, with: {hidden: [4]}}", "{use: 'code/net.py:Net'}"
            ),
            "specs/made.yaml": made + f"  command: [touch, {json.dumps(str(mark))}]\n",
            "code/rows.py": touch
            + "from code import net\ndef rows():\n    return []\ndef step(rows):\n    return rows\n",
            "code/net.py": touch + "class Net:\n    pass\n",
            "code/__init__.py": touch,
            "conftest.py": touch,
            "templates/lane.toml.j2": "{{ cycler.__init__.__globals__.os.system('touch " + str(mark) + "') }}",
            ".gitattributes": "* filter=evil merge=evil diff=evil\n",
            ".git-hooks/post-checkout": f"#!/bin/sh\ntouch {mark}\n",
        }
    )
    done = world.previewer().preview(number)
    assert done.state == "success"
    assert not mark.exists()
    comment = world.comment(number)
    (said,) = [line for line in comment.splitlines() if "RunsCode" in line and "dataset/tags" in line]
    assert all(path in said.replace("\\", "") for path in ("code/rows.py", "code/net.py", "code/__init__.py"))
    assert "runs a command after the merge: touch" in comment


@pytest.mark.parametrize("wrong", [False, True])
def test_secrets_in_specs_are_named_and_never_repeated(world: World, wrong: bool) -> None:
    token = "ghp_" + "a1B2" * 10
    use = f"{{use: 'code/net.py:Net', with: {{apiToken: {token}}}}}"
    specs = WHOLE["specs/model.yaml"].replace("{use: mlp, with: {hidden: [4]}}", use)
    specs = specs.replace("epochs: 3", f"{token}: 3") if wrong else specs
    number = world.pull({"specs/model.yaml": specs, "code/net.py": "class Net:\n    pass\n"})
    done = world.previewer().preview(number)
    assert ("SecretInSpec" in done.comment) != wrong
    assert token[:20] not in done.comment
    assert "\\*\\*\\*" in done.comment


# ── all of them, again and again ──────────────────────────────────────────────────────────────────────────────


def test_only_what_changed_is_computed_and_written_again(world: World) -> None:
    first, second = world.pull(RETRAIN), world.pull(LOOSENED)
    previewer = world.previewer()
    assert {each.number for each in previewer.preview_all()} == {first, second}
    planned = world.planned
    world.now += timedelta(minutes=5)
    assert [each.wrote for each in previewer.preview_all()] == [False, False]
    assert world.planned == planned
    world.version = "2"
    assert [each.wrote for each in previewer.preview_all()] == [False, False]
    assert world.planned > planned
    world.pull(LOOSENED, number=first)
    assert {each.number for each in previewer.preview_all() if each.wrote} == {first}
    assert world.forge.said[second][0].edits == 0
    world.merge_to_main(RETRAIN)
    assert {each.number for each in previewer.preview_all() if each.wrote} == {first, second}


def test_a_restarted_controller_finds_its_comments_and_leaves_them_when_only_the_time_differs(world: World) -> None:
    number = world.pull(RETRAIN)
    world.previewer().preview_all()
    world.now += timedelta(hours=3)
    world.previewer().preview_all()
    (said,) = world.forge.said[number]
    assert said.edits == 0
    assert "pending" not in world.states(number)[1:]


def test_only_the_pull_requests_a_webhook_named_are_looked_at(world: World) -> None:
    first, second = world.pull(RETRAIN), world.pull(LOOSENED)
    assert [each.number for each in world.previewer().preview_all({second})] == [second]
    assert first not in world.forge.said


def test_closed_and_old_pull_requests_are_left_alone(world: World) -> None:
    closed, old, fresh = world.pull(RETRAIN), world.pull(RETRAIN), world.pull(RETRAIN)
    world.forge.close_pull_request(closed)
    world.forge.pulls[old] = replace(world.forge.pulls[old], updated_at=STARTED - timedelta(days=31))
    previewer = world.previewer()
    assert [each.number for each in previewer.preview_all()] == [fresh]
    assert [each.number for each in previewer.preview_all({closed, old, fresh})] == [fresh]
    assert previewer.preview(closed).state is None
    assert set(world.forge.said) == {fresh}


def test_switched_off_previews_ask_nobody(world: World) -> None:
    world.pull(RETRAIN)
    world.settings = Previews.model_validate({"enabled": False})
    world.forge.failures = [ForgeError("must not be asked")]
    assert world.previewer().preview_all() == ()
    assert world.forge.failures


def test_one_call_does_bounded_work_and_the_next_ones_go_on(world: World) -> None:
    numbers = {world.pull(RETRAIN) for _ in range(5)}
    previewer = world.previewer(most=2)
    assert len(previewer.preview_all()) == 2
    assert len(previewer.preview_all()) == 2
    previewer.preview_all()
    assert set(world.forge.said) == numbers


def test_one_that_fails_does_not_stop_the_others_and_is_said_once(world: World) -> None:
    good, bad = world.pull(RETRAIN), world.pull(RETRAIN)
    world.forge.pulls[bad] = replace(world.forge.pulls[bad], head_ref="refs/pull/99/head")
    previewer = world.previewer()
    previewer.preview_all()
    previewer.preview_all()
    assert MARKER in world.comment(good)
    assert bad not in world.forge.said
    (event,) = world.events
    assert event.reason == "PreviewFailed"
    assert event.data == {"number": bad}
    assert "refs/pull/99/head" in event.message


def test_state_that_cannot_be_read_is_an_error_and_tried_again(world: World) -> None:
    number = world.pull(RETRAIN)
    world.trouble = StateError("the store cannot be read")
    previewer = world.previewer()
    (done,) = previewer.preview_all()
    assert (done.state, done.description) == ("error", "could not be planned")
    assert "the store cannot be read" in world.comment(number)
    world.trouble = None
    previewer.preview_all()
    assert world.states(number) == ["pending", "error", "success"]


def test_a_forge_that_refuses_is_said_once(world: World) -> None:
    world.pull(RETRAIN)
    previewer = world.previewer()
    for _ in range(3):
        world.forge.failures = [ForgeError("the token lacks rights")]
        assert previewer.preview_all() == ()
    assert [event.message for event in world.events] == ["pull requests cannot be listed: the token lacks rights"]
    assert len(previewer.preview_all()) == 1


def test_a_forge_that_asks_to_come_later_is_left_alone_until_then(world: World) -> None:
    number = world.pull(RETRAIN)
    previewer = world.previewer()
    world.forge.failures = [ForgeUnavailable("too many requests", retry_after=120)]
    assert previewer.preview_all() == ()
    world.now += timedelta(seconds=119)
    assert previewer.preview_all({number}) == ()
    world.now += timedelta(seconds=1)
    # What a webhook named meanwhile is not forgotten.
    assert [each.number for each in previewer.preview_all(set())] == [number]
    assert world.events == []


def test_a_forge_that_does_not_answer_is_asked_ever_more_rarely(world: World) -> None:
    previewer = world.previewer()
    waits = []
    for _ in range(8):
        started = world.now
        world.forge.failures = [ForgeUnavailable("no answer")]
        while world.forge.failures:
            previewer.preview_all()
            world.now += timedelta(seconds=10)
        waits.append((world.now - started).total_seconds())
    assert waits == sorted(waits)
    assert waits[0] <= 40
    assert 600 <= waits[-1] <= 910


def test_a_remote_that_does_not_answer_is_not_asked_for_every_pull_request(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(6):
        world.pull(RETRAIN)
    asked: list[str] = []

    def silent(ref: str) -> str:
        asked.append(ref)
        raise SourceUnavailable("no answer")

    monkeypatch.setattr(world.upstream, "bring", silent)
    world.previewer().preview_all()
    assert len(asked) == 3


def test_a_controller_that_stops_leaves_the_other_pull_requests_for_the_next_one(world: World) -> None:
    numbers = [world.pull({"specs/model.yaml": WHOLE["specs/model.yaml"].replace("3", str(4 + n))}) for n in range(3)]
    world.stops_after = 1
    (done,) = world.previewer().preview_all()
    assert [number for number in numbers if world.states(number)] == [done.number]
    world.stops_after = None
    world.previewer().preview_all()
    assert all(world.states(number)[-1] == "success" for number in numbers)
