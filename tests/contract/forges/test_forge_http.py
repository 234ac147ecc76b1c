"""How the forges' clients bear what goes wrong: on the way, at the forge, with the token."""

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from edgewright.errors import EdgewrightError, ForgeError, ForgeUnavailable
from edgewright.forges.client import LIMITS, HttpOptions
from edgewright.forges.opening import open_forge
from edgewright.forges.settings import ForgeKind
from edgewright.http.limits import RetryPolicy
from edgewright.ports import Forge
from edgewright.secret import Secret
from servers.forge.server import TOKEN, USER, ForgeServer

MARKER = "<!-- edgewright: plan -->"
QUICK = HttpOptions(replace(LIMITS, idle=0.5, total=2.0), RetryPolicy(attempts=3, first=0.0, longest=1.0))
FORGES: tuple[ForgeKind, ...] = ("github", "gitlab", "gitea")


@pytest.fixture(params=FORGES)
def server(request: pytest.FixtureRequest) -> Iterator[ForgeServer]:
    with ForgeServer(request.param) as server:
        server.open_pull_request()
        yield server


@pytest.fixture
def forge(server: ForgeServer) -> Iterator[Forge]:
    forge = open_forge(server.settings(), QUICK)
    yield forge
    forge.close()


def said_by(call: Callable[[], object], kind: type[EdgewrightError] = ForgeError) -> EdgewrightError:
    with pytest.raises(kind) as caught:
        call()
    assert TOKEN not in str(caught.value)
    return caught.value


@pytest.mark.parametrize("fault", ["error", "cut", "lost", "hang"])
def test_trouble_that_passes_is_not_noticed(server: ForgeServer, forge: Forge, fault: str) -> None:
    server.fail(fault, 2)  # type: ignore[arg-type]  # the names of faults

    assert forge.pull_request(1).number == 1
    assert len(server.requests) == 3


@pytest.mark.parametrize("fault", ["error", "cut", "lost", "hang"])
def test_trouble_that_stays_ends_after_so_many_attempts(server: ForgeServer, forge: Forge, fault: str) -> None:
    server.fail(fault, 9)  # type: ignore[arg-type]  # the names of faults

    said_by(lambda: forge.pull_request(1), ForgeUnavailable)
    assert len(server.requests) == QUICK.retries.attempts


def test_a_forge_that_is_not_there_is_unavailable(server: ForgeServer) -> None:
    settings = replace(server.settings(), url=server.url.replace("127.0.0.1", "127.0.0.2"))
    forge = open_forge(settings, QUICK)

    assert "does not answer" in said_by(lambda: forge.pull_request(1), ForgeUnavailable).message
    forge.close()


def test_a_limit_is_waited_for_when_it_is_short(server: ForgeServer, forge: Forge) -> None:
    server.fail("limit", retry_after=0)
    server.fail("limit")

    assert forge.put_comment(1, MARKER, f"{MARKER} plan").id


def test_what_was_refused_for_now_is_sent_again_even_if_it_makes_something(server: ForgeServer, forge: Forge) -> None:
    server.fail("limit", method="POST", retry_after=0)

    forge.put_comment(1, MARKER, f"{MARKER} plan")

    assert [comment.body for comment in server.comments(1)] == [f"{MARKER} plan"]


@pytest.mark.parametrize("fault", ["limit", "error"])
def test_a_long_wait_is_the_callers(server: ForgeServer, forge: Forge, fault: str) -> None:
    server.fail(fault, retry_after=120)  # type: ignore[arg-type]  # the names of faults

    error = said_by(lambda: forge.pull_request(1), ForgeUnavailable)
    assert isinstance(error, ForgeUnavailable)
    assert error.retry_after == 120
    assert len(server.requests) == 1


def test_a_date_to_come_again_is_understood(server: ForgeServer, forge: Forge) -> None:
    server.fail("limit", retry_after="Fri, 01 Jan 2100 00:00:00 GMT")

    error = said_by(lambda: forge.pull_request(1), ForgeUnavailable)
    assert isinstance(error, ForgeUnavailable)
    assert error.retry_after is not None
    assert error.retry_after > 3600


def test_githubs_403_for_too_many_requests_is_no_refusal() -> None:
    with ForgeServer("github") as server:
        server.open_pull_request()
        forge = open_forge(server.settings(), QUICK)
        server.fail("limit-403", reset_in=90)
        server.fail("limit-403")

        by_reset = said_by(lambda: forge.pull_request(1), ForgeUnavailable)
        by_words = said_by(lambda: forge.pull_request(1), ForgeUnavailable)
        forge.close()
    assert isinstance(by_reset, ForgeUnavailable)
    assert isinstance(by_words, ForgeUnavailable)
    assert by_reset.retry_after == pytest.approx(90, abs=3)
    assert by_words.retry_after == 60


@pytest.mark.parametrize("fault", ["html", "html-error"])
def test_a_page_in_place_of_the_api_is_told(server: ForgeServer, forge: Forge, fault: str) -> None:
    server.fail(fault)  # type: ignore[arg-type]  # the names of faults

    message = said_by(lambda: forge.pull_request(1), ForgeUnavailable).message
    assert "something between answered" in message
    assert "text/html" in message


def test_an_answer_of_another_shape_is_told(server: ForgeServer, forge: Forge) -> None:
    server.fail("odd", 2)

    said_by(lambda: forge.pull_request(1), ForgeUnavailable)
    said_by(forge.open_pull_requests, ForgeUnavailable)


def test_an_endless_answer_is_cut_off(server: ForgeServer, forge: Forge) -> None:
    server.fail("huge")

    assert "8 MiB" in said_by(lambda: forge.pull_request(1), ForgeUnavailable).message


def test_a_comment_whose_answer_was_lost_is_not_made_twice(server: ForgeServer, forge: Forge) -> None:
    server.fail("lost", method="POST")

    said_by(lambda: forge.put_comment(1, MARKER, f"{MARKER} plan"), ForgeUnavailable)
    forge.put_comment(1, MARKER, f"{MARKER} plan")

    assert [comment.body for comment in server.comments(1)] == [f"{MARKER} plan"]


def test_of_two_that_create_at_once_the_oldest_stays(server: ForgeServer, forge: Forge) -> None:
    server.meanwhile(lambda: server.state.add_comment(1, USER, f"{MARKER} by the other"))

    comment = forge.put_comment(1, MARKER, f"{MARKER} by us")
    again = forge.put_comment(1, MARKER, f"{MARKER} by us")

    assert comment == again
    (left,) = server.comments(1)
    assert (str(left.id), left.body) == (comment.id, f"{MARKER} by us")


def test_doubles_of_earlier_trouble_are_removed(server: ForgeServer, forge: Forge) -> None:
    oldest = server.state.add_comment(1, USER, f"{MARKER} old")
    server.state.add_comment(1, "mallory", f"{MARKER} quoted")
    server.state.add_comment(1, USER, f"{MARKER} double")
    server.fail("error", method="PUT" if server.kind == "gitlab" else "PATCH")
    server.fail("lost", method="DELETE")

    comment = forge.put_comment(1, MARKER, f"{MARKER} new")

    assert comment.id == str(oldest.id)
    assert [note.body for note in server.comments(1)] == [f"{MARKER} new", f"{MARKER} quoted"]


def test_a_comment_removed_while_it_is_edited_can_be_put_again(server: ForgeServer, forge: Forge) -> None:
    forge.put_comment(1, MARKER, f"{MARKER} old")
    server.meanwhile(server.state.comments.clear, method="PUT" if server.kind == "gitlab" else "PATCH")

    said_by(lambda: forge.put_comment(1, MARKER, f"{MARKER} new"), ForgeUnavailable)
    forge.put_comment(1, MARKER, f"{MARKER} new")

    assert [note.body for note in server.comments(1)] == [f"{MARKER} new"]


def test_long_lists_are_read_whole(server: ForgeServer, forge: Forge) -> None:
    server.largest_page = 2
    for _ in range(6):
        server.open_pull_request()
    for turn in range(5):
        server.state.add_comment(1, USER, f"remark {turn}")
    server.state.add_comment(1, USER, f"{MARKER} the plan")

    assert [one.number for one in forge.open_pull_requests()] == [7, 6, 5, 4, 3, 2, 1]
    assert forge.find_comment(1, MARKER) == f"{MARKER} the plan"


def test_the_token_goes_to_no_other_host(server: ForgeServer, forge: Forge) -> None:
    with ForgeServer(server.kind) as elsewhere:
        server.fail("redirect", location=f"{elsewhere.url}/user")
        message = said_by(lambda: forge.pull_request(1)).message
        assert elsewhere.requests == []
    assert "redirects to http://127.0.0.1" in message


def test_a_redirect_within_the_api_is_followed(server: ForgeServer, forge: Forge) -> None:
    forge.pull_request(1)
    server.fail("redirect", location=server.requests[0].path)

    assert forge.pull_request(1).number == 1


def test_a_moved_repository_is_not_written_to(server: ForgeServer, forge: Forge) -> None:
    server.fail("redirect", method="POST", location="/elsewhere")

    error = said_by(lambda: forge.set_status("a" * 40, "edgewright/plan", "success", "fine"))
    assert "has moved to /elsewhere" in error.message
    assert len(server.requests) == 1


def test_redirects_in_circles_end(server: ForgeServer, forge: Forge) -> None:
    server.fail("redirect", 20, location="/elsewhere")

    assert "circles" in said_by(lambda: forge.pull_request(1)).message


def test_a_wrong_token_is_told_by_its_variable(server: ForgeServer) -> None:
    forge = open_forge(server.settings(token="stale"), QUICK)

    error = said_by(lambda: forge.pull_request(1))
    assert "EDGEWRIGHT_FORGE_TOKEN" in error.message
    assert "stale" not in str(error)
    assert len(server.requests) == 1
    forge.close()


COMMENT = {"github": "pull_requests: write", "gitlab": "api", "gitea": "write:issue"}
STATUS = {"github": "statuses: write", "gitlab": "Developer", "gitea": "write:repository"}


def test_a_missing_right_is_named(server: ForgeServer) -> None:
    server.add_user("reader", "reading-only", ["read", "user"])
    forge = open_forge(server.settings(token="reading-only"), QUICK)

    comment = said_by(lambda: forge.put_comment(1, MARKER, f"{MARKER} plan"))
    status = said_by(lambda: forge.set_status("a" * 40, "edgewright/plan", "success", "fine"))
    forge.close()

    assert COMMENT[server.kind] in comment.hint
    assert STATUS[server.kind] in status.hint
    assert "EDGEWRIGHT_FORGE_TOKEN" in comment.message
    assert "reading-only" not in f"{comment}{status}"


def test_a_repository_the_token_may_not_see_is_told(server: ForgeServer) -> None:
    server.add_user("stranger", "no-rights", ["user"])
    forge = open_forge(server.settings(token="no-rights"), QUICK)

    assert "may not see it" in said_by(lambda: forge.pull_request(1)).message
    forge.close()


def test_a_token_that_no_header_can_carry_is_refused_without_showing_it(server: ForgeServer) -> None:
    settings = replace(server.settings(), token=Secret("two\nlines"))

    error = said_by(lambda: open_forge(settings, QUICK))
    assert "lines" not in error.message.replace("on one line", "")


def test_the_token_travels_in_a_header_alone(server: ForgeServer, forge: Forge) -> None:
    forge.put_comment(1, MARKER, f"{MARKER} plan")
    forge.set_status("a" * 40, "edgewright/plan", "success", "fine")

    assert all(TOKEN not in seen.path and TOKEN not in str(seen.body) for seen in server.requests)


def test_the_token_of_an_app_finds_its_own_comments() -> None:
    with ForgeServer("github") as server:
        server.open_pull_request()
        server.add_user("github-actions[bot]", "app-token", is_app=True)
        forge = open_forge(server.settings(token="app-token"), QUICK)
        for text in ("one", "two"):
            forge.put_comment(1, MARKER, f"{MARKER} {text}")
        forge.close()

        assert [(note.author, note.body) for note in server.comments(1)] == [("github-actions[bot]", f"{MARKER} two")]


def test_a_token_that_may_not_say_who_it_is_can_be_told() -> None:
    with ForgeServer("forgejo") as server:
        server.open_pull_request()
        server.add_user("robot", "narrow", ["read", "comment"])
        unknown = open_forge(server.settings(token="narrow"), QUICK)
        known = open_forge(server.settings(token="narrow", user="robot"), QUICK)

        assert "EDGEWRIGHT_FORGE_USER" in said_by(lambda: unknown.find_comment(1, MARKER)).hint
        known.put_comment(1, MARKER, f"{MARKER} plan")
        assert known.find_comment(1, MARKER) == f"{MARKER} plan"
        unknown.close()
        known.close()


def test_gitlab_projects_may_lie_in_groups_of_groups() -> None:
    with ForgeServer("gitlab", repository="acme/edge/team/shelves") as server:
        number = server.open_pull_request()
        forge = open_forge(server.settings(), QUICK)

        assert forge.pull_request(number).head_ref == f"refs/merge-requests/{number}/head"
        assert forge.put_comment(number, MARKER, f"{MARKER} plan").url.startswith(
            f"{server.web}/acme/edge/team/shelves/-/"
        )
        forge.close()


def test_gitlab_merge_requests_without_commits_are_left_out() -> None:
    with ForgeServer("gitlab") as server:
        empty, full = server.open_pull_request(head=""), server.open_pull_request()
        forge = open_forge(server.settings(), QUICK)

        assert [one.number for one in forge.open_pull_requests()] == [full]
        assert "no commits" in said_by(lambda: forge.pull_request(empty)).message
        forge.close()
