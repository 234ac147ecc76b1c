"""agent.toml where a server is reached by HTTP."""

from pathlib import Path
from typing import Any

import pytest

from edgewright_agent.durable import Disk
from edgewright_agent.errors import SettingsError
from edgewright_agent.limits import parse_window
from edgewright_agent.settings import POLL_HTTP, read_settings, settings_from, write_settings

PATH = Path("/var/lib/edgewright/agent.toml")
SERVER = "https://edgewright.example/agent/default"


def settings(**raw: Any) -> Any:
    return settings_from({"device": "lane-7", **raw}, PATH)


def problems(**raw: Any) -> str:
    with pytest.raises(SettingsError) as caught:
        settings(**raw)
    return caught.value.message


def test_a_server_says_where_everything_is() -> None:
    read = settings(server=SERVER + "/")
    assert (read.server, read.repository, read.reports) == (SERVER, f"{SERVER}/repository", f"{SERVER}/reports")
    elsewhere = settings(server=SERVER, repository="https://cdn.example/r")
    assert (elsewhere.repository, elsewhere.reports) == ("https://cdn.example/r", f"{SERVER}/reports")


def test_a_repository_behind_http_is_polled_more_rarely_than_a_share() -> None:
    assert settings(server=SERVER).poll == POLL_HTTP
    assert settings(server=SERVER, poll="5s").poll == 5.0
    assert settings(repository="/mnt/r", reports="/mnt/d").poll == 2.0


def test_files_are_named_relative_to_the_settings() -> None:
    read = settings(server=SERVER, ca="server.crt", token_file="/run/token")
    assert (read.ca, read.token_file) == (PATH.parent / "server.crt", Path("/run/token"))


def test_plain_http_is_for_this_machine_and_for_repositories() -> None:
    """What a repository says is signed; a report is believed because of who sent it."""
    assert settings(server="http://127.0.0.1:8080/agent/default").server
    assert settings(repository="http://cdn.example/r", reports="/mnt/d").repository
    assert settings(server="http://edgewright.example", insecure_http=True).insecure_http is True
    assert "insecure_http" in problems(server="http://edgewright.example")
    said = problems(repository="http://cdn.example/r", reports="http://10.0.0.1/reports")
    assert "reports: http://10.0.0.1/reports" in said
    assert "cdn.example" not in said


def test_everything_about_http_is_read() -> None:
    read = settings(
        server=SERVER,
        long_poll="30s",
        timeout="5s",
        bandwidth="500KiB/s",
        window="22:00-06:00",
        labels={"region": "eu"},
    )
    assert (read.long_poll, read.timeout, read.bandwidth) == (30.0, 5.0, 512_000.0)
    assert (read.window, read.labels) == (parse_window("22:00-06:00"), {"region": "eu"})


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("server", "edgewright.example", "https://"),
        ("server", "file:///mnt", "https://"),
        ("server", "https://user:secret@edgewright.example", "password"),
        ("repository", "https://cdn.example/r?token=1", "'?'"),
        ("long_poll", "30", "no duration"),
        ("bandwidth", "fast", "500KiB/s"),
        ("window", "at night", "22:00-06:00"),
        ("labels", {"region": 1}, "table of texts"),
        ("insecure_http", "yes", "true or false"),
        ("ca", True, "text in quotes"),
    ],
)
def test_a_wrong_setting_is_named(key: str, value: Any, says: str) -> None:
    said = problems(**{"server": SERVER, key: value})
    assert f"{PATH}: {key}: " in said
    assert says in said
    assert "secret" not in said


def test_a_device_whose_name_no_certificate_can_bear_is_told_so() -> None:
    said = problems(device="d" * 65, server=SERVER)
    assert "64 characters" in said


def test_what_init_writes_is_what_is_read(tmp_path: Path) -> None:
    raw = {
        "device": "lane-7",
        "server": SERVER,
        "labels": {"region": "eu", 'ke"y': "ü"},
        "insecure_http": True,
        "ca": "ca.crt",
    }
    path = write_settings(tmp_path / "device", raw, b"{}", Disk(sync=lambda _: None))
    assert read_settings(path) == settings_from(raw, path)
    assert read_settings(path).labels == {"region": "eu", 'ke"y': "ü"}
