"""Revisions that must be signed, clones that forget, and what operators accept."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from edgewright.core.status.source import repository_conditions
from edgewright.errors import SourceError, SourceUnavailable, SpecError
from edgewright.reconcile.accepted import SIGNED, fetch_follow
from edgewright.source.git.credentials import Credentials
from edgewright.source.local import LocalUpstream
from edgewright.source.mirrors import Mirror
from edgewright_schemas.environment import Follow
from samples.repositories import MODEL, commit, make_repository, run_git, write
from samples.signing_keys import SshKey, ssh_key
from servers.git_server import GitServer
from worlds.followed_source import WRONG, Place, environments, refused

SIGN = "verification: {ssh: {allowedSigners: keys/allowed, revoked: keys/revoked}}"


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


@pytest.fixture
def ada(tmp_path: Path) -> SshKey:
    return ssh_key(tmp_path / "keys", "ada")


@pytest.fixture
def eve(tmp_path: Path) -> SshKey:
    return ssh_key(tmp_path / "keys", "eve")


def signing(ada: SshKey, *lines: str, revoked: str = "# none yet\n") -> dict[str, str]:
    """What makes a repository ask for Ada's signature."""
    return {**environments(*lines, more=SIGN), "keys/allowed": ada.allowed(), "keys/revoked": revoked}


def test_only_trusted_signatures_are_taken_up(place: Place, ada: SshKey, eve: SshKey) -> None:
    good = place.commit(signing(ada), key=ada)
    followed = place.followed()
    assert place.look(followed).in_force == good
    assert place.accepted() == good + SIGNED
    unsigned = place.commit()
    message = refused(place.look(followed), "SignatureMissing", in_force=good, candidate=unsigned)
    assert unsigned in message
    strange = place.commit({"keys/allowed": ada.allowed() + eve.allowed()}, key=eve)
    message = refused(place.look(followed), "SignatureUnknown", in_force=good, candidate=strange)
    assert "SHA256:" in message
    refused(place.look(place.restart()), "SignatureUnknown", in_force=good, candidate=strange)
    vouched = place.commit(key=ada)
    assert place.look(followed).in_force == vouched, "Ada has signed what holds Eve's key"
    hers = place.commit(key=eve)
    assert place.look(followed).in_force == hers
    without = place.commit({"keys/revoked": eve.public + "\n"}, key=ada)
    assert place.look(followed).in_force == without
    late = place.commit(key=eve)
    refused(place.look(followed), "SignatureRevoked", in_force=without, candidate=late)


def test_an_unsigned_commit_cannot_end_the_need_to_sign(place: Place, ada: SshKey) -> None:
    good = place.commit(signing(ada), key=ada)
    followed = place.followed()
    place.look(followed)
    loose = place.commit(environments())
    refused(place.look(followed), "SignatureMissing", in_force=good, candidate=loose)
    refused(place.look(place.restart()), "SignatureMissing", in_force=good, candidate=loose)


def test_trust_does_not_start_anew_where_the_trusted_revision_is_gone(tmp_path: Path, ada: SshKey) -> None:
    with GitServer(tmp_path / "served") as server:
        place = Place(tmp_path, server)
        begun = run_git(place.work, "rev-parse", "HEAD")
        good = place.commit(signing(ada), key=ada)
        place.look(place.followed())
        run_git(place.work, "reset", "-q", "--hard", begun)
        hostile = place.commit({"note": "hello"})
        bare = server.folder / "repo.git"
        run_git(bare, "reflog", "expire", "--expire=now", "--all")
        run_git(bare, "gc", "-q", "--prune=now")

        fresh = place.restart(mirror="another")
        standing = place.look(fresh)
        assert standing.in_force is None
        assert good[:12] in standing.message
        assert "--accept" in standing.message
        with pytest.raises(SourceError, match="--accept"):
            fresh.revision()
        assert place.accepted() == good + SIGNED

        fresh.accept(hostile)
        standing = place.look(fresh)
        assert (standing.in_force, standing.reason) == (hostile, "")
        assert place.accepted() == hostile
        for upstream in place.upstreams:
            upstream.close()


def test_a_tag_that_is_no_version_is_named_while_another_is_in_force(tmp_path: Path) -> None:
    place = Place(tmp_path, None)
    good = place.commit(environments('shop semver: "^1.2"'))
    run_git(place.work, "tag", "v1.4.0")
    followed = place.followed("shop")
    assert place.look(followed).reason == ""
    run_git(place.work, "tag", "v1.5", place.commit({"note": "x"}))
    standing = place.look(followed)
    assert (standing.in_force, standing.reason) == (good, "TagIgnored")
    (ready, *_) = repository_conditions(standing, now=datetime.now(UTC))
    assert (ready.status, ready.reason) == ("True", "TagIgnored")
    assert "not read as semantic versions: v1.5 (write v1.5.0)" in ready.message
    run_git(place.work, "tag", "v1.5.0")
    assert place.look(followed).reason == ""
    place.upstream.close()


def forget(clone: Path) -> None:
    """Move a clone to what its remote has, as shallowly as it was made, and forget everything else."""
    run_git(clone, "fetch", "-q", "--depth=1")
    run_git(clone, "reset", "-q", "--hard", "origin/main")
    run_git(clone, "reflog", "expire", "--expire=now", "--all")
    run_git(clone, "gc", "-q", "--prune=now")


def shallow_clone(place: Place) -> LocalUpstream:
    """Follow a clone that forgets, instead of the place's work folder."""
    run_git(place.folder, "clone", "-q", "--depth=1", f"file://{place.work}", "clone")
    place.upstream = LocalUpstream(place.folder / "clone", place.folder / "clone-mirror", cache=None)
    place.upstreams.append(place.upstream)
    return place.upstream


def test_a_clone_that_forgets_what_is_in_force_is_followed_on(tmp_path: Path) -> None:
    place = Place(tmp_path, None)
    shallow_clone(place)
    followed = place.followed()
    first = place.look(followed).in_force
    for text in ("# one\n", "# two\n"):
        good = place.commit({"specs/model.yaml": MODEL + text})
        forget(tmp_path / "clone")
        standing = place.look(followed)
        assert (standing.in_force, standing.reason) == (good, "") != (first, "")
    wrong = place.commit(WRONG)
    forget(tmp_path / "clone")
    refused(place.look(followed), "SpecInvalid", in_force=good, candidate=wrong)
    for upstream in place.upstreams:
        upstream.close()


def test_trust_does_not_start_anew_in_a_clone_that_forgets(tmp_path: Path, ada: SshKey) -> None:
    place = Place(tmp_path, None)
    good = place.commit(signing(ada), key=ada)
    shallow_clone(place)
    followed = place.followed()
    assert place.look(followed).in_force == good
    place.commit({"note": "hello"})
    forget(tmp_path / "clone")
    standing = place.look(followed)
    assert (standing.in_force, standing.reason) == (good, "RefMissing")
    assert "--accept" in standing.message
    for upstream in place.upstreams:
        upstream.close()


def test_checking_out_another_branch_of_a_clone_changes_nothing(tmp_path: Path) -> None:
    place = Place(tmp_path, None)
    followed = place.followed()
    good = place.look(followed).in_force
    run_git(place.work, "switch", "-q", "-c", "topic")
    place.commit({"specs/model.yaml": MODEL + "# of the topic\n"})
    standing = place.look(followed)
    assert (standing.in_force, standing.reason, place.upstream.default_branch()) == (good, "", "main")
    run_git(place.work, "switch", "-q", "--detach", "topic")
    assert place.look(followed).in_force == good
    run_git(place.work, "switch", "-q", "main")
    assert place.look(followed).in_force == good != place.commit({"note": "x"})
    assert place.look(followed).in_force == run_git(place.work, "rev-parse", "main")
    for upstream in place.upstreams:
        upstream.close()


def test_what_an_environment_follows_is_not_changed_by_unsigned_commits(place: Place, ada: SshKey) -> None:
    good = place.commit(signing(ada, "shop branch: main"), key=ada)
    main, evil = Follow(branch="main"), Follow(branch="evil")
    followed = place.followed("shop")
    assert place.look(followed, main).in_force == good
    run_git(place.work, "switch", "-q", "-c", "evil")
    write(place.work, environments("shop branch: evil"))
    commit(place.work)
    place.push("evil")
    run_git(place.work, "switch", "-q", "main")
    place.commit(environments("shop branch: evil", "another branch: evil"))
    for each in (followed, place.restart("shop")):
        standing = place.look(each, main, evil)
        assert (standing.reason, standing.in_force) == ("SignatureMissing", good)
        assert each.follow == main
    standing = place.look(place.followed("another"), main, evil)
    assert (standing.reason, standing.in_force) == ("RefMissing", None)
    assert "there is no environment 'another'" in standing.message
    assert place.accepted("another") is None


def test_a_new_environment_begins_with_the_keys_that_others_trust(place: Place, ada: SshKey, eve: SshKey) -> None:
    place.commit(signing(ada, "shop branch: main"), key=ada)
    main, live = Follow(branch="main"), Follow(branch="live")
    place.look(place.followed("shop"), main)
    place.commit(signing(ada, "shop branch: main", "live branch: live"), key=ada)
    followed = place.followed("live")
    hers = _commit_on_live(place, eve)
    refused(place.look(followed, main, live), "SignatureUnknown", in_force=None, candidate=hers)
    his = _commit_on_live(place, ada)
    assert place.look(followed, main, live).in_force == his


def _commit_on_live(place: Place, key: SshKey) -> str:
    run_git(place.work, "switch", "-q", "-C", "live")
    made = key.commit(place.work)
    place.push("live")
    run_git(place.work, "switch", "-q", "main")
    return made


def test_accept_puts_a_revision_in_force_and_its_keys(place: Place, ada: SshKey, eve: SshKey) -> None:
    good = place.commit(signing(ada), key=ada)
    followed = place.followed()
    place.look(followed)
    other = place.commit(signing(eve), key=eve)
    refused(place.look(followed), "SignatureUnknown", in_force=good, candidate=other)
    fresh = place.restart()
    fresh.accept(other)
    assert place.look(fresh).in_force == other
    assert place.accepted() == other + SIGNED
    theirs = place.commit(key=eve)
    assert place.look(fresh).in_force == theirs


@pytest.mark.parametrize("refused_ref", ["0" * 40, "nothing"])
def test_accept_refuses_what_is_not_there_or_wrong(place: Place, refused_ref: str) -> None:
    followed = place.followed()
    good = place.look(followed).in_force
    with pytest.raises(SourceError):
        followed.accept(refused_ref)
    wrong = place.commit(WRONG)
    with pytest.raises(SpecError, match=r"specs/model\.yaml:5"):
        followed.accept(wrong)
    assert place.accepted() == good


@pytest.mark.parametrize("follow", [Follow(tag="live"), Follow(semver=">=1.0.0")], ids=str)
def test_moving_a_tag_and_adding_a_version_promote(place: Place, follow: Follow) -> None:
    kind, value = str(follow).split(" ", 1)
    place.commit(environments(f"shop {kind}: {value!r}"))
    named: Callable[[int], str] = lambda n: "live" if follow.tag else f"v1.{n}.0"  # noqa: E731 - short
    main = Follow(branch="main")
    followed = place.followed("shop")
    standing = place.look(followed, main, follow)
    assert (standing.reason, standing.in_force) == ("RefMissing", None)
    for number in range(2):
        run_git(place.work, "tag", "-f", named(number))
        place.push(named(number))
        promoted = run_git(place.work, "rev-parse", "HEAD")
        assert place.look(followed, main, follow).in_force == promoted
        place.commit({"note": str(number)})
        standing = place.look(followed, main, follow)
        assert (standing.reason, standing.in_force) == ("", promoted)
    assert standing.since is not None
    assert datetime.now(UTC) - standing.since < timedelta(minutes=5)


def test_a_repository_that_is_away_is_read_as_it_was_fetched_last(tmp_path: Path) -> None:
    work = make_repository(tmp_path / "work")
    with GitServer(tmp_path / "remotes") as remotes:
        remotes.add(work)
        told: list[SourceUnavailable] = []
        mirror = Mirror(remotes.url(), tmp_path / "mirror", Credentials(), cache=None)
        follow = fetch_follow(mirror, "", None, told.append)
        before = mirror.resolve(follow)
        assert told == []
        remotes.trouble = "500"
        again = Mirror(remotes.url(), tmp_path / "mirror", Credentials(), cache=None)
        assert again.resolve(fetch_follow(again, "", None, told.append)) == before
        assert len(told) == 1
        with pytest.raises(SourceUnavailable):
            fetch_follow(again, "", None)
        nothing = Mirror(remotes.url(), tmp_path / "empty", Credentials(), cache=None)
        with pytest.raises(SourceUnavailable):
            fetch_follow(nothing, "", None, told.append)
