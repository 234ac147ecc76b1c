"""Which forge is meant: by variables, by CI, by the Git remote."""

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from edgewright.errors import ForgeError
from edgewright.forges.settings import ForgeSettings
from edgewright.secret import Secret

TOKEN = {"EDGEWRIGHT_FORGE_TOKEN": "s3cret-token"}
GITHUB_CI = {
    "CI": "true",
    "GITHUB_ACTIONS": "true",
    "GITHUB_API_URL": "https://api.github.com",
    "GITHUB_REPOSITORY": "acme/shelves",
    "GITHUB_TOKEN": "ci-token",
}
GITLAB_CI = {
    "CI": "true",
    "GITLAB_CI": "true",
    "CI_API_V4_URL": "https://git.acme.example/api/v4",
    "CI_PROJECT_PATH": "acme/edge/shelves",
    "GITLAB_TOKEN": "ci-token",
}
FORGEJO_CI = {
    **GITHUB_CI,
    "FORGEJO_ACTIONS": "true",
    "GITEA_ACTIONS": "true",
    "GITHUB_API_URL": "https://codeberg.org/api/v1",
}


def guess(remote: str | None, **environment: str) -> ForgeSettings:
    found = ForgeSettings.guess(remote, environment)
    assert found is not None
    return found


def problems(remote: str | None, environment: Mapping[str, str]) -> str:
    with pytest.raises(ForgeError) as caught:
        ForgeSettings.guess(remote, environment)
    assert "s3cret" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("remote", "kind", "url", "repository"),
    [
        ("https://github.com/acme/shelves.git", "github", "https://api.github.com", "acme/shelves"),
        ("https://github.com/acme/shelves/", "github", "https://api.github.com", "acme/shelves"),
        ("https://ada:s3cret@github.com/acme/shelves", "github", "https://api.github.com", "acme/shelves"),
        ("git@github.com:acme/shelves.git", "github", "https://api.github.com", "acme/shelves"),
        ("ssh://git@ssh.github.com:443/acme/shelves.git", "github", "https://api.github.com", "acme/shelves"),
        ("https://acme.ghe.com/acme/shelves", "github", "https://api.acme.ghe.com", "acme/shelves"),
        ("git@gitlab.com:acme/edge/shelves.git", "gitlab", "https://gitlab.com/api/v4", "acme/edge/shelves"),
        ("ssh://git@codeberg.org/acme/shelves.git", "forgejo", "https://codeberg.org/api/v1", "acme/shelves"),
    ],
)
def test_a_remote_everybody_knows_says_it_all(remote: str, kind: str, url: str, repository: str) -> None:
    found = guess(remote, **TOKEN)

    assert (found.kind, found.url, found.repository) == (kind, url, repository)
    assert found.token == Secret("s3cret-token")


@pytest.mark.parametrize(
    ("forge", "remote", "url", "repository"),
    [
        ("github", "git@git.acme.example:acme/shelves.git", "https://git.acme.example/api/v3", "acme/shelves"),
        ("gitlab", "ssh://git@git.acme.example:2222/a/b/c.git", "https://git.acme.example/api/v4", "a/b/c"),
        ("gitea", "http://git.acme.example:3000/acme/shelves", "http://git.acme.example:3000/api/v1", "acme/shelves"),
        ("Forgejo", "https://[::1]:3000/acme/shelves.git", "https://[::1]:3000/api/v1", "acme/shelves"),
    ],
)
def test_of_any_other_server_it_is_enough_to_say_what_it_is(forge: str, remote: str, url: str, repository: str) -> None:
    found = guess(remote, EDGEWRIGHT_FORGE=forge, **TOKEN)

    assert (found.url, found.repository) == (url, repository)


@pytest.mark.parametrize(
    ("given", "kind", "url"),
    [
        ("https://git.acme.example/api/v4/", "gitlab", "https://git.acme.example/api/v4"),
        ("https://git.acme.example/api/v3", "github", "https://git.acme.example/api/v3"),
        ("https://github.com", "github", "https://api.github.com"),
        ("https://codeberg.org", "forgejo", "https://codeberg.org/api/v1"),
    ],
)
def test_the_apis_address_says_what_it_is(given: str, kind: str, url: str) -> None:
    found = guess(None, EDGEWRIGHT_FORGE_URL=given, EDGEWRIGHT_FORGE_REPOSITORY="acme/shelves", **TOKEN)

    assert (found.kind, found.url) == (kind, url)


def test_a_server_below_a_path_is_no_part_of_the_repositorys_name() -> None:
    found = guess(
        "https://acme.example/git/acme/shelves.git",
        EDGEWRIGHT_FORGE="gitlab",
        EDGEWRIGHT_FORGE_URL="https://acme.example/git",
        **TOKEN,
    )

    assert (found.url, found.repository) == ("https://acme.example/git/api/v4", "acme/shelves")


def test_a_token_may_lie_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("from-a-file\n")

    found = guess("git@github.com:acme/shelves", EDGEWRIGHT_FORGE_TOKEN_FILE=str(tmp_path / "token"))
    assert found.token == Secret("from-a-file")
    assert found.variable == "EDGEWRIGHT_FORGE_TOKEN_FILE"


@pytest.mark.parametrize(
    ("environment", "kind", "url", "repository", "variable"),
    [
        (GITHUB_CI, "github", "https://api.github.com", "acme/shelves", "GITHUB_TOKEN"),
        (GITLAB_CI, "gitlab", "https://git.acme.example/api/v4", "acme/edge/shelves", "GITLAB_TOKEN"),
        (FORGEJO_CI, "forgejo", "https://codeberg.org/api/v1", "acme/shelves", "GITHUB_TOKEN"),
        ({**GITHUB_CI, **TOKEN}, "github", "https://api.github.com", "acme/shelves", "EDGEWRIGHT_FORGE_TOKEN"),
    ],
)
def test_ci_says_it_all(environment: dict[str, str], kind: str, url: str, repository: str, variable: str) -> None:
    found = guess(None, **environment)

    assert (found.kind, found.url, found.repository, found.variable) == (kind, url, repository, variable)


@pytest.mark.parametrize("ci", [GITHUB_CI, GITLAB_CI, FORGEJO_CI])
def test_a_fork_without_a_token_has_no_forge_and_no_error(ci: dict[str, str]) -> None:
    without = {name: "" if name.endswith("_TOKEN") else value for name, value in ci.items()}

    assert ForgeSettings.guess("https://github.com/acme/shelves", without) is None
    assert ForgeSettings.guess("https://github.com/acme/shelves", without | {"EDGEWRIGHT_FORGE_TOKEN": ""}) is None


def test_tokens_of_ci_are_not_used_elsewhere() -> None:
    mine = {"GITHUB_TOKEN": "my own", "GITLAB_TOKEN": "my own"}

    assert ForgeSettings.guess("https://github.com/acme/shelves", mine) is None
    assert ForgeSettings.guess("https://gitlab.com/acme/shelves", mine) is None


@pytest.mark.parametrize(
    "elsewhere", [{"EDGEWRIGHT_FORGE_URL": "https://evil.example/api/v3"}, {"EDGEWRIGHT_FORGE": "gitlab"}]
)
def test_the_token_of_ci_does_not_travel_to_another_forge(elsewhere: dict[str, str]) -> None:
    assert ForgeSettings.guess("https://git.acme.example/acme/shelves", GITHUB_CI | elsewhere) is None


@pytest.mark.parametrize("remote", [None, "/srv/git/shelves.git", "../shelves", "file:///srv/shelves", "C:\\shelves"])
def test_without_a_server_and_a_token_there_is_none(remote: str | None) -> None:
    assert ForgeSettings.guess(remote, {}) is None


def test_everything_that_is_missing_is_said_at_once() -> None:
    said = problems(None, {"EDGEWRIGHT_FORGE": "gitlab"})

    for variable in ("EDGEWRIGHT_FORGE_TOKEN", "EDGEWRIGHT_FORGE_URL"):
        assert variable in said


def test_an_unknown_server_is_asked_about() -> None:
    said = problems("https://ada:s3cret@git.acme.example/acme/shelves", TOKEN)

    assert "EDGEWRIGHT_FORGE" in said
    assert "git.acme.example" in said


@pytest.mark.parametrize(
    ("environment", "word"),
    [
        ({"EDGEWRIGHT_FORGE": "svn"}, "svn"),
        ({"EDGEWRIGHT_FORGE": "gitea", "EDGEWRIGHT_FORGE_URL": "git.example"}, "EDGEWRIGHT_FORGE_URL"),
        ({"EDGEWRIGHT_FORGE": "gitea", "EDGEWRIGHT_FORGE_URL": "https://ada:s3cret@git.example"}, "password"),
        ({"EDGEWRIGHT_FORGE_REPOSITORY": "shelves"}, "owner/name"),
        ({"EDGEWRIGHT_FORGE_REPOSITORY": "acme/../shelves"}, "owner/name"),
        ({"EDGEWRIGHT_FORGE_REPOSITORY": "acme/edge/shelves"}, "owner/name"),
        ({"EDGEWRIGHT_FORGE_TOKEN": "", "EDGEWRIGHT_FORGE_TOKEN_FILE": "/nowhere/token"}, "/nowhere/token"),
    ],
)
def test_what_is_wrong_is_named(environment: dict[str, str], word: str) -> None:
    assert word in problems("https://github.com/acme/shelves", TOKEN | environment)


def test_asking_for_settings_imports_no_http_library() -> None:
    program = "import sys; import edgewright.forges.settings, edgewright.forges.remotes; print('httpx' in sys.modules)"
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "False"


def test_settings_do_not_show_the_token() -> None:
    assert "s3cret" not in repr(guess("git@github.com:acme/shelves", **TOKEN))
