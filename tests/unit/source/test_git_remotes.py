"""Addresses of repositories, and the versions among tags."""

from pathlib import Path

import pytest

from edgewright.errors import SourceError
from edgewright.secret import Secret
from edgewright.source.git.credentials import Credentials
from edgewright.source.git.refs import newest, parse_remote
from edgewright.source.git.remotes import Remote, is_remote
from edgewright.source.local import LocalUpstream
from edgewright.source.mirrors import Mirror
from edgewright.source.upstreams import open_upstream
from samples.repositories import make_repository


@pytest.mark.parametrize(
    ("location", "scheme", "host"),
    [
        ("https://example.com:8443/org/repo.git", "https", "example.com:8443"),
        ("ssh://git@example.com/org/repo.git", "ssh", "example.com"),
        ("git@example.com:org/repo.git", "ssh", "example.com"),
        ("file:///srv/repo.git", "file", ""),
    ],
)
def test_addresses(location: str, scheme: str, host: str) -> None:
    remote = Remote.parse(location)
    assert (remote.scheme, remote.host, str(remote)) == (scheme, host, location)
    assert is_remote(location)


def test_a_query_is_not_shown() -> None:
    assert str(Remote.parse("https://example.com/repo.git?token=abc")) == "https://example.com/repo.git"


@pytest.mark.parametrize("path", [".", "specs", "/srv/repo.git", "a:b", "host:repo"])
def test_paths_are_no_addresses(path: str) -> None:
    assert not is_remote(path)


def test_what_is_opened_depends_on_the_location(tmp_path: Path) -> None:
    work = make_repository(tmp_path / "git@host:work")
    local = open_upstream(str(work), tmp_path / "state", Credentials(), cache=None)
    remote = open_upstream("git@example.com:repo.git", tmp_path / "state", Credentials(), cache=None)
    assert isinstance(local, LocalUpstream)
    assert isinstance(remote, Mirror)
    assert not (tmp_path / "state").exists()
    local.fetch(())
    assert local.source(lambda: local.resolve(None)).snapshot().resources
    local.close()


def test_credentials_are_for_one_host_alone() -> None:
    variables = Remote.parse("https://example.com:8443/repo.git").environment(Credentials("ada", Secret("pw")), 10)
    settings = {
        variables[f"GIT_CONFIG_KEY_{index}"]: variables[f"GIT_CONFIG_VALUE_{index}"]
        for index in range(int(variables["GIT_CONFIG_COUNT"]))
    }
    assert settings["credential.helper"] == ""
    assert "credential.https://example.com:8443.helper" in settings
    assert not any("pw" in value for value in settings.values())
    assert variables["GIT_ALLOW_PROTOCOL"] == "https:ssh"
    assert settings["protocol.ext.allow"] == "never"


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (">=1.4.0 <2.0.0", "v1.10.0"),
        ("^1.4", "v1.10.0"),
        ("~1.4.0", "1.4.2"),
        ("*", "v2.0.0"),
        (">=2.1.0-0", "v2.1.0-rc.10"),
        ("1.4.0 - 1.4.1", "v1.4.0"),
    ],
)
def test_the_newest_version_in_a_range(wanted: str, expected: str) -> None:
    tags = ["v1.4.0", "1.4.2", "v1.10.0", "v2.0.0", "v2.1.0-rc.2", "v2.1.0-rc.10", "v1.4", "latest", "vv3.0.0"]
    assert newest(wanted, tags) == expected
    assert newest(wanted, tags[::-1]) == expected


@pytest.mark.parametrize("wanted", [" ", "one", ">=1.0.0,<2", "==1"])
def test_a_range_that_cannot_be_read(wanted: str) -> None:
    with pytest.raises(SourceError, match="is no range of versions"):
        newest(wanted, ["v1.0.0"])


def test_a_head_that_leads_nowhere_names_what_there_is() -> None:
    refs = parse_remote(f"{'a' * 40}\trefs/heads/develop\n{'b' * 40}\trefs/pull/1/head\n")
    with pytest.raises(SourceError) as caught:
        refs.find(None)
    assert str(caught.value) == "its HEAD has no commit\n  follow a branch; known: develop"
