"""The agent's own settings: ``agent.toml``, written by ``init`` and read by everything else; and ``installer.toml``.

Strict: an unknown key is an error that names the known ones. The trusted root metadata is ``root.json`` beside it.
"""

import difflib
import json
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from edgewright_agent.durable import Disk
from edgewright_agent.errors import SettingsError
from edgewright_agent.http.urls import is_http, is_plain_http, problem_of_url
from edgewright_agent.limits import Window, parse_rate, parse_size, parse_window
from edgewright_agent.repository.transport import file_url
from edgewright_wire.names import DEVICE_ID_RULE, LONGEST_ENROLLED_DEVICE_ID, is_device_id

SETTINGS_FILE = "agent.toml"
ROOT_FILE = "root.json"
INSTALLER_FILE = "installer.toml"
DEFAULT_RUNTIME = "edgewright_agent.runtime:OnnxRuntime"

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)")
_UNIT = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings of agent.toml. Durations are seconds here, ``500ms``, ``2s``, ``5m`` or ``1h`` in the file.

    Files are named relative to agent.toml there.
    """

    directory: Path
    """Where the agent keeps everything: the directory of agent.toml."""
    device: str
    repository: str
    """URL of the published repository."""
    reports: str
    """URL of the report drop."""
    server: str = ""
    """Base URL of edgewright's server; what repository and reports are below, unless they say otherwise."""
    device_class: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    """What the device says of itself when it enrolls."""
    token_file: Path | None = None
    """Holds what lets the device enroll without an operator."""
    ca: Path | None = None
    """The only authorities that a server's certificate may come from; the system's, where this is not set."""
    insecure_http: bool = False
    """Whether reports may go over plain HTTP to another machine."""
    poll: float = 2.0
    """Over HTTP, POLL_HTTP where it is not set; a server may set it."""
    long_poll: float = 0.0
    """How long a server is asked to wait for a change before it answers; 0 to be polled."""
    timeout: float = 20.0
    """For a connection to be made, and between two pieces of an answer."""
    bandwidth: float = 0.0
    """Bytes per second that packages may come with; 0 for as many as come. ``500KiB/s`` in the file."""
    window: Window | None = None
    """When packages may be fetched, local time: ``22:00-06:00`` in the file."""
    heartbeat: float = 30.0
    """A report is sent this often even when nothing changes."""
    retry: float = 1.0
    """First wait after something failed that may pass; doubles up to retry_max."""
    retry_max: float = 300.0
    runtime: str = DEFAULT_RUNTIME
    python_path: tuple[str, ...] = ()
    probe_timeout: float = 60.0
    probe_memory: float = 0.0
    """Bytes of its own that a probe may have; 0 for half of the device's. ``512MiB`` in the file."""


@dataclass(frozen=True, slots=True)
class InstallerSettings:
    """Settings of the installer where another system updates the device; all have defaults."""

    directory: Path
    """Where the installer keeps everything: the directory of installer.toml."""
    runtime: str = DEFAULT_RUNTIME
    python_path: tuple[str, ...] = ()
    probe_timeout: float = 60.0
    probe_memory: float = 0.0
    """Bytes of its own that a probe may have; 0 for half of the device's. ``512MiB`` in the file."""


POLL_HTTP = 60.0
_DURATIONS = frozenset({"poll", "long_poll", "timeout", "heartbeat", "retry", "retry_max", "probe_timeout"})
_FILES = frozenset({"ca", "token_file"})
_KEYS = tuple(setting.name for setting in fields(Settings) if setting.name != "directory")
_REQUIRED = ("device", "repository", "reports")
_BELOW_SERVER = ("repository", "reports")
_INSTALLER_KEYS = tuple(setting.name for setting in fields(InstallerSettings) if setting.name != "directory")


def parse_duration(text: str) -> float:
    """Read ``500ms``, ``2s``, ``5m`` or ``1h`` as seconds.

    Raises:
        ValueError: It is none of these, or zero.
    """
    match = _DURATION.fullmatch(text.strip())
    if match is None or float(match[1]) == 0:
        raise ValueError(f"{text!r} is no duration like 500ms, 2s, 5m or 1h")
    return float(match[1]) * _UNIT[match[2]]


def read_settings(path: Path) -> Settings:
    """Read agent.toml.

    Raises:
        SettingsError: It cannot be read, or something in it is wrong; every problem is listed.
    """
    try:
        raw = _read_toml(path)
    except FileNotFoundError as error:
        raise SettingsError(f"{path}: not there; make it with `edgewright-agent init --dir {path.parent} …`") from error
    return settings_from(raw, path)


def read_installer_settings(directory: Path, given: dict[str, Any]) -> InstallerSettings:
    """Read installer.toml, where there is one.

    Args:
        directory: The installer's directory.
        given: What the command line says instead, by the file's keys.

    Raises:
        SettingsError: It cannot be read, or something is wrong; every problem is listed. Or an agent works here.
    """
    if (directory / SETTINGS_FILE).exists():
        raise SettingsError(f"{directory}: an agent looks after this directory ({SETTINGS_FILE}); take another one")
    path = directory / INSTALLER_FILE
    try:
        raw = _read_toml(path)
    except FileNotFoundError:
        raw = {}
    return InstallerSettings(directory=directory.absolute(), **_checked({**raw, **given}, path, _INSTALLER_KEYS))


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(f"{path}: cannot be read: {error}") from error


def settings_from(raw: dict[str, Any], path: Path) -> Settings:
    """Check settings; ``path`` is where they are, or will be.

    Raises:
        SettingsError: Something is wrong; every problem is listed.
    """
    if isinstance(server := raw.get("server"), str):
        raw = {key: f"{server.rstrip('/')}/{key}" for key in _BELOW_SERVER} | raw
    values = _checked(raw, path, _KEYS, _REQUIRED)
    if problems := _problems_together(values):
        raise SettingsError("\n".join(f"{path}: {problem}" for problem in problems))
    if is_http(values["repository"]):
        values.setdefault("poll", POLL_HTTP)
    directory = path.parent.absolute()
    for key in _FILES & values.keys():
        values[key] = directory / values[key]
    return Settings(directory=directory, **values)


def _problems_together(values: dict[str, Any]) -> list[str]:
    """List the problems of settings that do not fit together."""
    problems = [
        f"{key}: {values[key]} is not encrypted: whoever listens can speak as this device. "
        "Take https, or write insecure_http = true"
        for key in ("server", "reports")
        if is_plain_http(values.get(key, "")) and not values.get("insecure_http")
    ]
    if "server" in values and len(values["device"]) > LONGEST_ENROLLED_DEVICE_ID:
        problems.append(
            f"device: {values['device']} cannot enroll: a certificate's name has at most "
            f"{LONGEST_ENROLLED_DEVICE_ID} characters"
        )
    return problems


def _checked(raw: dict[str, Any], path: Path, known: tuple[str, ...], required: tuple[str, ...] = ()) -> dict[str, Any]:
    problems = [_unknown(key, known) for key in raw if key not in known]
    below = "; or server, which stands for both repository and reports"
    problems += [f"{key} is missing{below * (key in _BELOW_SERVER)}" for key in required if key not in raw]
    values: dict[str, Any] = {}
    for key, value in raw.items():
        if key in known:
            try:
                values[key] = _check(key, value)
            except ValueError as error:
                problems.append(f"{key}: {error}")
    if problems:
        raise SettingsError("\n".join(f"{path}: {problem}" for problem in problems))
    return values


def _check(key: str, value: Any) -> Any:
    match key:
        case "python_path":
            if not isinstance(value, list | tuple) or not all(isinstance(entry, str) for entry in value):
                raise ValueError("a list of directories is expected")
            return tuple(value)
        case "labels":
            if not isinstance(value, dict) or not all(isinstance(entry, str) for entry in value.values()):
                raise ValueError('a table of texts is expected, like {region = "eu"}')
            return dict(value)
        case "insecure_http":
            if not isinstance(value, bool):
                raise ValueError("true or false is expected")
            return value
        case _ if not isinstance(value, str):
            raise ValueError(f"text in quotes is expected, not {value!r}")
        case _ if key in _DURATIONS:
            return parse_duration(value)
        case _:
            return _TEXTS.get(key, str)(value)


def _device(text: str) -> str:
    if not is_device_id(text):
        raise ValueError(f"{text!r} is not a device id: {DEVICE_ID_RULE}")
    return text


def _url(text: str) -> str:
    url = file_url(text)
    if is_http(url) and (problem := problem_of_url(url)):
        raise ValueError(problem)
    return url


def _server(text: str) -> str:
    if not is_http(text):
        raise ValueError(f"{text!r} is no https:// URL of a server, like https://edgewright.example/agent/default")
    return _url(text).rstrip("/")


def _runtime(text: str) -> str:
    if not re.fullmatch(r"[\w.]+:\w+", text):
        raise ValueError(f'{text!r} is not "module:Class"')
    return text


_TEXTS: Mapping[str, Callable[[str], Any]] = {
    "device": _device,
    "repository": _url,
    "reports": _url,
    "server": _server,
    "runtime": _runtime,
    "bandwidth": parse_rate,
    "window": parse_window,
    "probe_memory": parse_size,
}


def _unknown(key: str, known: tuple[str, ...]) -> str:
    near = difflib.get_close_matches(key, known, n=1)
    return f"unknown setting {key!r}" + (f"; did you mean {near[0]}?" if near else f"; known are {', '.join(known)}")


def write_settings(directory: Path, raw: dict[str, Any], root: bytes, disk: Disk) -> Path:
    """Write agent.toml and the trusted root; what a device has learned already stays.

    Raises:
        SettingsError: A setting is wrong, or the directory cannot be written.
    """
    path = directory / SETTINGS_FILE
    settings_from(raw, path)
    lines = [f"{key} = {_toml(value)}" for key, value in raw.items()]
    try:
        disk.make_directory(directory.absolute())
        disk.write(directory / ROOT_FILE, root)
        disk.write(path, ("\n".join(lines) + "\n").encode())
    except OSError as error:
        raise SettingsError(f"{directory}: cannot be written: {error}") from error
    read_settings(path)
    return path


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_toml(key)} = {_toml(entry)}" for key, entry in value.items()) + "}"
    return json.dumps(value, ensure_ascii=False)
