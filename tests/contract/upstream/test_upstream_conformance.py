"""What every upstream must do: a mirror over HTTP and over ``file://``, and a repository of one's own."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from edgewright.core.signatures import SignatureState
from edgewright.errors import SourceError, SpecError
from edgewright.ports import Upstream
from edgewright.source.git.credentials import Credentials
from edgewright.source.upstreams import open_upstream
from edgewright_schemas.environment import Follow
from samples.repositories import FILES, append_empty_commits, commit, make_repository, run_git, write
from servers.git_server import GitServer

MAIN = Follow(branch="main")
REPOSITORY = """apiVersion: edgewright.dev/v1alpha1
kind: Repository
metadata: {name: shop}
spec:
  paths: [specs]
  environments:
    - {name: test, follow: {branch: main}}
"""


@dataclass
class Subject:
    """A repository somebody works in, and how it is followed."""

    work: Path
    publish: Callable[[], None]
    """Make what was committed visible to those who follow."""
    open: Callable[[], Upstream]


@pytest.fixture(params=["http", "file", "local"])
def subject(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Subject]:
    work = make_repository(tmp_path / "work", {**FILES, "edgewright.yaml": REPOSITORY})
    with GitServer(tmp_path / "served") as server:
        bare = server.add(work)
        location = {"http": server.url(), "file": f"file://{bare}", "local": str(work)}[request.param]
        opened: list[Upstream] = []

        def publish() -> None:
            run_git(work, "push", "-q", "--prune", "--force", "origin", "refs/heads/*", "refs/tags/*")

        def open_() -> Upstream:
            folder = tmp_path / "state"
            opened.append(open_upstream(location, folder, Credentials(), cache=folder / "cache"))
            return opened[-1]

        yield Subject(work, publish, open_)
        for upstream in opened:
            upstream.close()


def change(subject: Subject, name: str = "note.txt", text: str = "x") -> str:
    write(subject.work, {name: text})
    made = commit(subject.work, name)
    subject.publish()
    return made


def test_the_default_branch_is_always_followed(subject: Subject) -> None:
    upstream = subject.open()
    fetched = upstream.fetch(())
    assert (fetched.changed, fetched.rewritten, fetched.gone) == (("branch main",), (), ())
    assert upstream.resolve(None) == run_git(subject.work, "rev-parse", "main")
    assert upstream.fetch((MAIN,)).changed == ()


def test_a_new_commit_is_found_by_the_next_fetch(subject: Subject) -> None:
    upstream = subject.open()
    upstream.fetch((MAIN,))
    made = change(subject)
    fetched = upstream.fetch((MAIN,))
    assert (fetched.changed, fetched.rewritten) == (("branch main",), ())
    assert upstream.resolve(MAIN) == made


def test_a_snapshot_of_what_is_followed(subject: Subject, tmp_path: Path) -> None:
    upstream = subject.open()
    upstream.fetch(())
    source = upstream.source(lambda: upstream.resolve(MAIN))
    snapshot = source.snapshot()
    assert snapshot.revision == upstream.resolve(MAIN) == source.revision()
    assert snapshot.model("reader") is not None
    source.materialize(snapshot.revision, ["data"], tmp_path / "out")
    assert (tmp_path / "out/data/tags.csv").read_text() == FILES["data/tags.csv"]
    assert source.read(snapshot.revision, "data/tags.csv").decode() == FILES["data/tags.csv"]
    seen = upstream.source(lambda: upstream.resolve(MAIN), "test").snapshot()
    assert seen.environment == "test"


def test_a_force_push_is_told_and_the_old_revision_stays_readable(subject: Subject) -> None:
    upstream = subject.open()
    old = change(subject)
    upstream.fetch((MAIN,))
    source = upstream.source(lambda: old)
    run_git(subject.work, "commit", "-q", "--amend", "-m", "another")
    subject.publish()
    fetched = upstream.fetch((MAIN,))
    assert (fetched.changed, fetched.rewritten) == (("branch main",), ("branch main",))
    assert upstream.resolve(MAIN) == run_git(subject.work, "rev-parse", "main") != old
    assert source.snapshot().revision == old


def test_several_commits_at_once_are_no_rewrite(subject: Subject) -> None:
    upstream = subject.open()
    upstream.fetch((MAIN,))
    for number in range(4):
        change(subject, text=str(number))
    assert upstream.fetch((MAIN,)).rewritten == ()


def test_a_branch_that_is_deleted_is_gone_and_named(subject: Subject) -> None:
    run_git(subject.work, "branch", "release")
    subject.publish()
    upstream = subject.open()
    follow = Follow(branch="release")
    upstream.fetch((follow,))
    old = upstream.resolve(follow)
    run_git(subject.work, "branch", "-D", "release")
    subject.publish()
    fetched = upstream.fetch((follow,))
    assert (fetched.changed, fetched.gone) == ((), ("branch release",))
    with pytest.raises(SourceError, match="no branch 'release'"):
        upstream.resolve(follow)
    assert upstream.source(lambda: old).snapshot().revision == old


def test_tags_versions_and_commits(subject: Subject) -> None:
    first = run_git(subject.work, "rev-parse", "main")
    run_git(subject.work, "tag", "-a", "v1.4.0", "-m", "one")
    second = change(subject)
    run_git(subject.work, "tag", "1.10.0")
    run_git(subject.work, "tag", "v2.0.0-rc.1")
    run_git(subject.work, "tag", "nightly")
    subject.publish()
    upstream = subject.open()
    expected = {
        Follow(tag="v1.4.0"): first,
        Follow(semver="^1.2"): second,
        Follow(semver=">=1.4.0 <1.10.0"): first,
        Follow(semver=">=2.0.0-rc.0"): second,
        Follow(commit=first): first,
    }
    upstream.fetch(expected)
    assert {follow: upstream.resolve(follow) for follow in expected} == expected
    run_git(subject.work, "tag", "v1.11.0", first)
    subject.publish()
    assert upstream.fetch(expected).changed == ("semver ^1.2",)
    assert upstream.resolve(Follow(semver="^1.2")) == first


def test_tags_that_only_look_like_versions_are_named(subject: Subject) -> None:
    for tag in ("v1.4.0", "v1.5", "release-1.6.2", "V1.7.0", "2.0", "v1.3", "v1.5.0.1/x", "nightly-20260101"):
        run_git(subject.work, "tag", tag)
    subject.publish()
    upstream = subject.open()
    follow = Follow(semver="^1.2")
    upstream.fetch((follow,))
    assert upstream.overlooked(follow) == ("not read as semantic versions: V1.7.0, release-1.6.2, v1.5 (write v1.7.0)")
    assert upstream.overlooked(MAIN) == upstream.overlooked(None) == upstream.overlooked(Follow(semver="<1.0")) == ""
    with pytest.raises(SourceError, match=r"no tag is in \^2\.0\n.*v1\.4\.0; not read as semantic versions: 2\.0"):
        upstream.resolve(Follow(semver="^2.0"))


@pytest.mark.parametrize(
    ("follow", "message"),
    [
        (Follow(branch="mian"), "there is no branch 'mian'\n  did you mean main?"),
        (Follow(tag="v1.4"), "there is no tag 'v1.4'\n  did you mean v1.4.0?"),
        (Follow(tag="main"), "there is no tag 'main'\n  main is a branch: follow it as one"),
        (Follow(semver="^2.0"), "no tag is in ^2.0\n  the newest version there is: v1.4.0"),
        (Follow(semver=">=two"), "'>=two' is no range of versions"),
    ],
)
def test_what_is_not_there_is_named_with_the_nearest(subject: Subject, follow: Follow, message: str) -> None:
    run_git(subject.work, "tag", "v1.4.0")
    subject.publish()
    upstream = subject.open()
    upstream.fetch((follow,))
    with pytest.raises(SourceError) as caught:
        upstream.resolve(follow)
    assert message in str(caught.value)


def test_the_repository_document_alone(subject: Subject) -> None:
    upstream = subject.open()
    upstream.fetch(())
    declared = upstream.declared(upstream.resolve(None))
    assert declared is not None
    assert [each.name for each in declared.spec.environments] == ["test"]
    change(subject, "edgewright.yaml", REPOSITORY.replace("paths", "pahts"))
    upstream.fetch(())
    with pytest.raises(SpecError, match=r"edgewright.yaml:5:3: .*paths"):
        upstream.declared(upstream.resolve(None))
    (subject.work / "edgewright.yaml").unlink()
    commit(subject.work)
    subject.publish()
    upstream.fetch(())
    assert upstream.declared(upstream.resolve(None)) is None


def test_signatures_are_not_asked_for_without_rules(subject: Subject) -> None:
    upstream = subject.open()
    upstream.fetch(())
    revision = upstream.resolve(None)
    assert upstream.check(None, revision, None).state is SignatureState.NOT_REQUIRED


def test_a_pull_request_is_merged_in_memory(subject: Subject) -> None:
    run_git(subject.work, "checkout", "-q", "-b", "change")
    head = change(subject, "data/tags.csv", "store,weight,label\nb,1,x\n")
    run_git(subject.work, "checkout", "-q", "main")
    append_empty_commits(subject.work, "main", 60)
    base = change(subject, "note.txt", "y")
    run_git(subject.work, "update-ref", "refs/pull/7/head", head)
    run_git(subject.work, "push", "-q", "origin", "refs/pull/7/head")
    refs = run_git(subject.work, "for-each-ref")
    objects = run_git(subject.work, "count-objects", "-v")
    upstream = subject.open()
    upstream.fetch((MAIN,))
    assert upstream.bring("refs/pull/7/head") == head
    merged = upstream.merge(base, head)
    assert merged.revision is not None
    assert merged.conflicts == ()
    assert merged.base == run_git(subject.work, "merge-base", base, head)
    revision = merged.revision
    source = upstream.source(lambda: revision)
    assert source.snapshot().revision == revision
    assert b"b,1,x" in source.read(revision, "data/tags.csv")
    assert source.read(revision, "note.txt") == b"y"
    assert upstream.merge(base, head) == merged
    assert subject.open().merge(base, head) == merged
    assert run_git(subject.work, "for-each-ref") == refs
    assert run_git(subject.work, "count-objects", "-v") == objects


def test_a_merge_starts_from_where_the_two_part_not_from_any_commit_they_share(subject: Subject) -> None:
    """Follow git-flow: a release is merged back to both branches, so that a short way leads to an old commit."""
    old = change(subject, "data/tags.csv", "store,weight,label\na,1,old\n")
    parted = change(subject, "data/tags.csv", "store,weight,label\na,1,new\n")
    heads = []
    for name, files in (("main", {"note.txt": "x"}), ("change", {"data/tags.csv": "store,weight,label\na,1,old\n"})):
        run_git(subject.work, "checkout", "-q", "-B", name, parted)
        append_empty_commits(subject.work, name, 70)
        write(subject.work, files)
        commit(subject.work)
        tree = run_git(subject.work, "rev-parse", "HEAD^{tree}")
        heads.append(run_git(subject.work, "commit-tree", tree, "-p", "HEAD", "-p", old, "-m", "merge a release back"))
        run_git(subject.work, "reset", "-q", "--hard", heads[-1])
    subject.publish()
    base, head = heads
    assert run_git(subject.work, "merge-base", "--all", base, head) == parted
    upstream = subject.open()
    upstream.fetch((MAIN, Follow(branch="change")))
    merged = upstream.merge(base, head)
    assert merged.revision is not None
    assert merged.base == parted
    # What the branch takes back is a change only against the newer of the two commits they share.
    source = upstream.source(lambda: str(merged.revision))
    assert b"a,1,old" in source.read(merged.revision, "data/tags.csv")


def test_conflicts_and_what_needs_no_merge(subject: Subject) -> None:
    before = run_git(subject.work, "rev-parse", "main")
    run_git(subject.work, "checkout", "-q", "-b", "change")
    head = change(subject, "note.txt", "theirs")
    run_git(subject.work, "checkout", "-q", "main")
    base = change(subject, "note.txt", "ours")
    upstream = subject.open()
    upstream.fetch((MAIN, Follow(branch="change")))
    conflict = upstream.merge(base, head)
    assert (conflict.revision, conflict.conflicts, conflict.base) == (None, ("note.txt",), before)
    upstream.bring(before)
    assert upstream.merge(before, head).revision == head
    assert upstream.merge(base, before).revision == base


def test_without_a_common_history_nothing_is_merged(subject: Subject) -> None:
    base = run_git(subject.work, "rev-parse", "main")
    run_git(subject.work, "checkout", "-q", "--orphan", "other")
    head = change(subject)
    upstream = subject.open()
    upstream.fetch((MAIN, Follow(branch="other")))
    with pytest.raises(SourceError, match="no common history at all"):
        upstream.merge(base, head)


def test_a_ref_that_is_not_there_cannot_be_brought(subject: Subject) -> None:
    upstream = subject.open()
    upstream.fetch(())
    for ref in ("refs/pull/9/head", "1" * 40, "--upload-pack=touch x", "a:b"):
        with pytest.raises(SourceError):
            upstream.bring(ref)


def test_a_repository_without_commits(subject: Subject, tmp_path: Path) -> None:
    run_git(tmp_path, "init", "-q", "-b", "main", "empty")
    upstream = open_upstream(f"file://{tmp_path}/empty", tmp_path / "other", Credentials(), cache=None)
    assert upstream.fetch((MAIN,)).changed == ()
    with pytest.raises(SourceError, match="no commit yet"):
        upstream.resolve(None)
    upstream.close()
