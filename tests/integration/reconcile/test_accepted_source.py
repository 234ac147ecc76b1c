"""What is in force: real Git repositories, real keys, and a store that outlives the process."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from edgewright.core.status.source import repository_conditions
from edgewright.errors import SourceError
from edgewright_schemas.environment import Follow
from samples.repositories import MODEL, run_git, write
from servers.git_server import GitServer
from worlds.followed_source import WRONG, Place, environments, refused


@pytest.fixture(params=["local", "remote"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    if request.param == "local":
        place = Place(tmp_path, None)
        yield place
    else:
        with GitServer(tmp_path / "served") as server:
            place = Place(tmp_path, server)
            yield place
    for upstream in place.upstreams:
        upstream.close()


def test_new_commits_are_taken_up(place: Place) -> None:
    followed = place.followed()
    with pytest.raises(SourceError, match="no revision is in force"):
        place.followed(ref="v0").snapshot()
    first = run_git(place.work, "rev-parse", "HEAD")
    standing = place.look(followed)
    assert (standing.in_force, standing.candidate, standing.reason) == (first, first, "")
    assert followed.snapshot().revision == first
    second = place.commit()
    assert followed.revision() == first, "nothing was fetched yet"
    assert place.look(followed).in_force == second
    assert followed.snapshot().revision == followed.revision() == second == place.accepted()


def test_wrong_specs_are_refused_with_their_place_and_the_last_good_ones_stay(place: Place) -> None:
    followed = place.followed()
    good = place.look(followed).in_force
    wrong = place.commit(WRONG)
    standing = place.look(followed)
    message = refused(standing, "SpecInvalid", in_force=good, candidate=wrong)
    assert "specs/model.yaml:5:" in message
    (stalled,) = [c for c in repository_conditions(standing, now=datetime.now(UTC)) if c.status == "True"]
    assert (stalled.type, stalled.reason) == ("Stalled", "SpecInvalid")
    assert followed.snapshot().revision == good
    again = place.look(followed)
    assert again.since == standing.since, "it has stood like this since then"
    fixed = place.commit({"specs/model.yaml": MODEL})
    standing = place.look(followed)
    assert (standing.in_force, standing.reason) == (fixed, "")


def test_wrong_specs_at_first_leave_nothing_in_force(place: Place) -> None:
    wrong = place.commit(WRONG)
    followed = place.followed()
    refused(place.look(followed), "SpecInvalid", in_force=None, candidate=wrong)
    with pytest.raises(SourceError, match=r"no revision is in force: .*specs/model\.yaml:5"):
        followed.snapshot()
    assert place.accepted() is None


def test_a_new_process_begins_where_the_last_one_was(place: Place) -> None:
    good = place.look(place.followed()).in_force
    wrong = place.commit(WRONG)
    refused(place.look(place.restart()), "SpecInvalid", in_force=good, candidate=wrong)


def test_what_is_in_force_outlives_a_force_push_and_the_branch(place: Place) -> None:
    main = Follow(branch="main")
    write(place.work, environments("shop branch: live"))
    place.commit()
    run_git(place.work, "branch", "live")
    place.push("live")
    live = Follow(branch="live")
    followed = place.followed("shop")
    place.look(followed, main, live)
    run_git(place.work, "switch", "-q", "live")
    place.commit({"note": "to be gone"})
    place.push("live")
    good = place.look(followed, main, live).in_force
    assert good == run_git(place.work, "rev-parse", "HEAD")

    run_git(place.work, "reset", "-q", "--hard", "HEAD~1")
    place.commit(WRONG)
    place.push("live")
    wrong = run_git(place.work, "rev-parse", "HEAD")
    for each in (followed, place.restart("shop")):
        refused(place.look(each, main, live), "SpecInvalid", in_force=good, candidate=wrong)
        assert each.snapshot().revision == good
    run_git(place.work, "switch", "-q", "main")
    run_git(place.work, "branch", "-q", "-D", "live")
    place.push(":live")
    for each in (followed, place.restart("shop")):
        standing = place.look(each, main, live)
        assert (standing.reason, standing.in_force) == ("RefMissing", good)
        assert "live" in standing.message
        assert each.snapshot().revision == good


def test_a_branch_that_was_rewritten_is_taken_up_and_said_so(place: Place) -> None:
    followed = place.followed()
    place.look(followed)
    place.commit({"note": "a"})
    place.look(followed)
    run_git(place.work, "commit", "-q", "--amend", "-m", "other")
    place.push()
    standing = place.look(followed)
    assert (standing.reason, standing.in_force) == ("HistoryRewritten", run_git(place.work, "rev-parse", "HEAD"))
    assert place.look(followed).reason == ""


def test_a_remote_that_does_not_answer_leaves_the_last_good_in_force(tmp_path: Path) -> None:
    with GitServer(tmp_path / "served") as server:
        place = Place(tmp_path, server)
        followed = place.followed()
        good = place.look(followed).in_force
        server.trouble = "500"
        for each in (followed, place.restart()):
            standing = place.look(each)
            assert (standing.reason, standing.in_force) == ("SourceUnavailable", good)
            assert each.snapshot().revision == good
        fresh = place.restart(mirror="another")
        standing = place.look(fresh)
        assert (standing.reason, standing.in_force) == ("SourceUnavailable", None)
        server.trouble = ""
        newer = place.commit()
        standing = place.look(fresh)
        assert (standing.reason, standing.in_force) == ("", newer)
        for upstream in place.upstreams:
            upstream.close()
