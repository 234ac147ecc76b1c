"""The agent's own settings: ``agent.toml``, written by ``init`` and read by everything else; and ``installer.toml``.

Strict: an unknown key is an error that names the known ones. The trusted root metadata is ``root.json`` beside it.
"""

import difflib
import json
import re
import tomllib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from edgewright_agent.durable import Disk
from edgewright_agent.errors import SettingsError
from edgewright_agent.transport import file_url
from edgewright_wire.messages import DeviceId

SETTINGS_FILE = "agent.toml"
ROOT_FILE = "root.json"
INSTALLER_FILE = "installer.toml"
DEFAULT_RUNTIME = "edgewright_agent.runtime:OnnxRuntime"

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)")
_UNIT = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything a person may set. Durations are seconds here, ``500ms``, ``2s``, ``5m`` or ``1h`` in the file."""

    directory: Path
    """Where the agent keeps everything: the directory of agent.toml."""
    device: str
    repository: str
    """URL of the published repository."""
    reports: str
    """URL of the report drop."""
    device_class: str = ""
    poll: float = 2.0
    heartbeat: float = 30.0
    """A report is sent this often even when nothing changes."""
    retry: float = 1.0
    """First wait after something failed that may pass; doubles up to retry_max."""
    retry_max: float = 300.0
    runtime: str = DEFAULT_RUNTIME
    python_path: tuple[str, ...] = ()
    probe_timeout: float = 60.0


@dataclass(frozen=True, slots=True)
class InstallerSettings:
    """What the installer needs where another system updates the device; all of it has defaults."""

    directory: Path
    """Where the installer keeps everything: the directory of installer.toml."""
    runtime: str = DEFAULT_RUNTIME
    python_path: tuple[str, ...] = ()
    probe_timeout: float = 60.0


_DURATIONS = frozenset({"poll", "heartbeat", "retry", "retry_max", "probe_timeout"})
_KEYS = tuple(field.name for field in fields(Settings) if field.name != "directory")
_REQUIRED = ("device", "repository", "reports")
_INSTALLER_KEYS = tuple(field.name for field in fields(InstallerSettings) if field.name != "directory")


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
    return Settings(directory=path.parent.absolute(), **_checked(raw, path, _KEYS, _REQUIRED))


def _checked(raw: dict[str, Any], path: Path, known: tuple[str, ...], required: tuple[str, ...] = ()) -> dict[str, Any]:
    problems = [_unknown(key, known) for key in raw if key not in known]
    problems += [f"{key} is missing" for key in required if key not in raw]
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
    if key == "python_path":
        if not isinstance(value, list | tuple) or not all(isinstance(entry, str) for entry in value):
            raise ValueError("a list of directories is expected")
        return tuple(value)
    if not isinstance(value, str):
        raise ValueError(f"text in quotes is expected, not {value!r}")
    if key in _DURATIONS:
        return parse_duration(value)
    if key == "device":
        try:
            TypeAdapter(DeviceId).validate_python(value)
        except ValidationError as error:
            raise ValueError(f"{value!r} is no device id: letters, digits, '.', '_' and '-', at most 128") from error
    if key in {"repository", "reports"}:
        return file_url(value)
    if key == "runtime" and not re.fullmatch(r"[\w.]+:\w+", value):
        raise ValueError(f'{value!r} is not "module:Class"')
    return value


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
    lines = [f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in raw.items()]
    try:
        disk.make_directory(directory.absolute())
        disk.write(directory / ROOT_FILE, root)
        disk.write(path, ("\n".join(lines) + "\n").encode())
    except OSError as error:
        raise SettingsError(f"{directory}: cannot be written: {error}") from error
    read_settings(path)
    return path
