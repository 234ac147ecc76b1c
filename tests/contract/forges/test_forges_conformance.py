"""What every forge does, whatever speaks to it."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace

import pytest

from edgewright.errors import ForgeError
from edgewright.forges.client import LIMITS, HttpOptions
from edgewright.forges.opening import open_forge
from edgewright.forges.settings import KINDS, ForgeKind
from edgewright.http.limits import RetryPolicy
from edgewright.ports import Forge
from fakes.forge import MemoryForge
from servers.forge.server import USER, ForgeServer

MARKER = "<!-- edgewright: plan -->"
QUICK = HttpOptions(replace(LIMITS, idle=5.0, total=10.0), RetryPolicy(attempts=3, first=0.0, longest=1.0))


@dataclass
class Site:
    """A forge, and what people do and see there."""

    forge: Forge
    open: Callable[..., int]
    push: Callable[[int, str], None]
    close: Callable[[int], None]
    comment_as: Callable[[str, int, str], object]
    bodies: Callable[[int], list[str]]
    edits: Callable[[int], int]
    description: Callable[[str, str], str]


def over_http(kind: ForgeKind, stack: ExitStack) -> Site:
    server = stack.enter_context(ForgeServer(kind))
    forge = open_forge(server.settings(), QUICK)
    stack.callback(forge.close)
    return Site(
        forge,
        server.open_pull_request,
        server.push_to,
        server.close_pull_request,
        lambda author, number, body: server.state.add_comment(number, author, body),
        lambda number: [comment.body for comment in server.comments(number)],
        lambda number: sum(comment.edits for comment in server.comments(number)),
        lambda commit, context: server.statuses(commit)[context].description,
    )


def in_memory() -> Site:
    forge = MemoryForge(user=USER)
    return Site(
        forge,
        forge.open_pull_request,
        forge.push_to,
        forge.close_pull_request,
        forge.comment_as,
        lambda number: [comment.body for comment in forge.said.get(number, [])],
        lambda number: sum(comment.edits for comment in forge.said.get(number, [])),
        lambda commit, context: forge.set[commit][context][-1].description,
    )


@pytest.fixture(params=[*KINDS, "memory"])
def site(request: pytest.FixtureRequest) -> Iterator[Site]:
    with ExitStack() as stack:
        yield in_memory() if request.param == "memory" else over_http(request.param, stack)


def test_a_pull_request_is_found_with_its_head_and_base(site: Site) -> None:
    number = site.open(head="a" * 40, base="main", title="Train longer")

    found = site.forge.pull_request(number)

    assert (found.number, found.title, found.head, found.base) == (number, "Train longer", "a" * 40, "main")
    assert found.is_open
    assert found.head_ref in {f"refs/pull/{number}/head", f"refs/merge-requests/{number}/head"}
    assert str(number) in found.url
    assert found.updated_at is not None
    assert found.updated_at.tzinfo is not None


def test_a_push_moves_its_head(site: Site) -> None:
    number = site.open(head="a" * 40)
    site.push(number, "b" * 40)

    assert site.forge.pull_request(number).head == "b" * 40


def test_a_closed_one_can_be_looked_up_and_is_not_listed(site: Site) -> None:
    first, second, third = site.open(), site.open(), site.open()
    site.close(second)

    assert [one.number for one in site.forge.open_pull_requests()] == [third, first]
    assert not site.forge.pull_request(second).is_open


def test_one_that_is_not_there_is_an_error(site: Site) -> None:
    for ask in (
        lambda: site.forge.pull_request(404),
        lambda: site.forge.find_comment(404, MARKER),
        lambda: site.forge.put_comment(404, MARKER, f"{MARKER} hello"),
    ):
        with pytest.raises(ForgeError):
            ask()


def test_no_comment_at_first(site: Site) -> None:
    assert site.forge.find_comment(site.open(), MARKER) is None


def test_a_comment_is_made_once_and_edited_in_place(site: Site) -> None:
    number = site.open()

    first = site.forge.put_comment(number, MARKER, f"{MARKER}\none step")
    second = site.forge.put_comment(number, MARKER, f"{MARKER}\ntwo steps")

    assert first == second
    assert first.id in first.url
    assert site.bodies(number) == [f"{MARKER}\ntwo steps"]
    assert site.forge.find_comment(number, MARKER) == f"{MARKER}\ntwo steps"


def test_unchanged_text_is_not_written_again(site: Site) -> None:
    number = site.open()
    for _ in range(3):
        site.forge.put_comment(number, MARKER, f"{MARKER}\none step")

    assert site.bodies(number) == [f"{MARKER}\none step"]
    assert site.edits(number) == 0


def test_pull_requests_and_markers_do_not_mix(site: Site) -> None:
    first, second = site.open(), site.open()
    site.forge.put_comment(first, MARKER, f"{MARKER} first")
    site.forge.put_comment(second, MARKER, f"{MARKER} second")
    site.forge.put_comment(first, "<!-- other -->", "<!-- other --> text")

    assert site.bodies(first) == [f"{MARKER} first", "<!-- other --> text"]
    assert site.bodies(second) == [f"{MARKER} second"]


def test_somebody_elses_comment_with_the_marker_is_left_alone(site: Site) -> None:
    number = site.open()
    site.comment_as("mallory", number, f"{MARKER} nothing to see here")

    assert site.forge.find_comment(number, MARKER) is None
    site.forge.put_comment(number, MARKER, f"{MARKER} the plan")

    assert site.bodies(number) == [f"{MARKER} nothing to see here", f"{MARKER} the plan"]
    assert site.forge.find_comment(number, MARKER) == f"{MARKER} the plan"


def test_own_comments_without_the_marker_are_left_alone(site: Site) -> None:
    number = site.open()
    site.comment_as(USER, number, "welcome")
    site.forge.put_comment(number, MARKER, f"{MARKER} the plan")

    assert site.bodies(number) == ["welcome", f"{MARKER} the plan"]


def test_a_comment_up_to_the_limit_is_taken_and_a_longer_one_refused(site: Site) -> None:
    number = site.open()
    longest = MARKER + "x" * (site.forge.comment_limit - len(MARKER))
    site.forge.put_comment(number, MARKER, longest)

    with pytest.raises(ForgeError, match="too long"):
        site.forge.put_comment(number, MARKER, longest + "x")

    assert site.bodies(number) == [longest]


def test_a_comment_that_could_not_be_found_again_is_refused(site: Site) -> None:
    number = site.open()
    with pytest.raises(ForgeError, match="marker"):
        site.forge.put_comment(number, MARKER, "the plan")

    assert site.bodies(number) == []


def test_statuses_can_be_set_in_any_order_and_again(site: Site) -> None:
    commit = "a" * 40
    for state in ("pending", "pending", "success", "success", "pending", "failure", "pending", "error"):
        site.forge.set_status(commit, "edgewright/plan", state, f"it is {state}", "https://edge.example/plans/1")

    assert site.description(commit, "edgewright/plan") == "it is error"


def test_statuses_of_other_contexts_and_commits_stay(site: Site) -> None:
    site.forge.set_status("a" * 40, "edgewright/plan", "success", "planned")
    site.forge.set_status("a" * 40, "edgewright/apply", "failure", "failed")
    site.forge.set_status("b" * 40, "edgewright/plan", "failure", "other")

    assert site.description("a" * 40, "edgewright/plan") == "planned"
    assert site.description("a" * 40, "edgewright/apply") == "failed"


def test_a_long_description_is_cut(site: Site) -> None:
    site.forge.set_status("a" * 40, "edgewright/plan", "success", "very " * 100)

    shown = site.description("a" * 40, "edgewright/plan")
    assert shown.startswith("very very")
    assert len(shown) <= 255
