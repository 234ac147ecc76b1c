"""Inventory files: CSV rows to devices. Called by ``assemble`` and ``contents``; parsed once for each blob id."""

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache

from pydantic import TypeAdapter, ValidationError

from edgewright.core.suggestions import suggestion
from edgewright.errors import Problem
from edgewright_schemas.fleet import Device, SshHost
from edgewright_wire.names import DEVICE_ID_RULE

MAX_BYTES = 16 << 20
"""Some hundred thousand devices. A pull request brings whatever its author likes, and a preview reads it."""
_MAX_PROBLEMS = 20
"""Of one file; a table in the wrong format would otherwise fill the screen."""
_SSH = "ssh."
_SSH_COLUMNS = tuple(field.alias or name for name, field in SshHost.model_fields.items())
_SSH_RULES: Mapping[str, tuple[str, str]] = {
    "port": ("no port", "a whole number from 1 to 65535"),
    "hostKey": ("no public host key", "type and key as in /etc/ssh/ssh_host_ed25519_key.pub"),
}
"""What is wrong with a cell that pydantic refused, and what it should be."""


@lru_cache(maxsize=1)
def _devices() -> TypeAdapter[tuple[Device, ...]]:
    return TypeAdapter(tuple[Device, ...])


def typed(body: str) -> tuple[Device, ...]:
    """Build devices from the JSON that ``load_inventory`` made.

    Raises:
        ValidationError: It is something else.
    """
    return _devices().validate_json(body, strict=True)


def load_inventory(path: str, data: bytes) -> tuple[str, list[Problem]]:
    """Read a CSV inventory: column ``id``, columns ``ssh.host``, ``ssh.hostKey``, …; every other column is a label.

    An empty cell is no label, and of ``ssh.…`` what the fleet says.

    Returns:
        The devices as JSON, in the file's order, and what is wrong with the file (then the JSON is of no use).
    """
    if len(data) > MAX_BYTES:
        return "[]", [Problem(path, 1, 1, f"larger than {MAX_BYTES:,} bytes", "divide it into several inventories")]
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        what = f"not UTF-8: byte 0x{data[error.start]:02x}"
        return "[]", [Problem(path, line, 1, what, "save the file as UTF-8")]
    rows = csv.reader(io.StringIO(text, newline=""), strict=True)
    devices: list[dict[str, object]] = []
    lines: list[int] = []
    problems: list[Problem] = []
    try:
        header = [cell.strip() for cell in next(rows, [])]
        problems.extend(_check_header(path, header))
        if not problems:
            at = header.index("id")
            first_seen: dict[str, int] = {}
            for line, row in _numbered(rows):
                if len(row) != len(header):
                    problems.append(Problem(path, line, 1, f"expected {len(header)} cells, found {len(row)}"))
                    continue
                device = row[at].strip()
                if device in first_seen:
                    hint = f"first on line {first_seen[device]}; remove one of them"
                    problems.append(Problem(path, line, 1, f"device {device!r} is listed twice", hint))
                first_seen.setdefault(device, line)
                devices.append(_device(dict(zip(header, (cell.strip() for cell in row), strict=True))))
                lines.append(line)
    except csv.Error as error:
        problems.append(Problem(path, rows.line_num, 1, f"malformed CSV: {error}"))
    body = json.dumps(devices, separators=(",", ":"))
    problems.extend(_check_devices(path, body, lines))
    return body, _limited(path, problems)


def _device(row: Mapping[str, str]) -> dict[str, object]:
    """Sort one row's cells by what they say."""
    filled = {name: value for name, value in row.items() if value and name != "id"}
    ssh = {name.removeprefix(_SSH): value for name, value in filled.items() if name.startswith(_SSH)}
    labels = {name: value for name, value in filled.items() if not name.startswith(_SSH)}
    device: dict[str, object] = {"id": row["id"], "labels": labels}
    if ssh:
        port = ssh.get("port", "")
        device["ssh"] = {**ssh, "port": int(port)} if port.isascii() and port.isdigit() else ssh
    return device


def _numbered(rows: Iterator[list[str]]) -> Iterator[tuple[int, list[str]]]:
    """Number rows by the line each starts on; blank lines are skipped."""
    start = rows.line_num + 1  # type: ignore[attr-defined]  # csv.reader's own attribute; its type is private
    for row in rows:
        if row:
            yield start, row
        start = rows.line_num + 1  # type: ignore[attr-defined]  # as above


def _check_header(path: str, header: Sequence[str]) -> Iterator[Problem]:
    if "id" not in header:
        found = ", ".join(header[:8]) or "nothing"
        yield Problem(path, 1, 1, "an inventory needs the column 'id'", f"the first line has: {found}")
    for index, name in enumerate(header):
        if not name:
            yield Problem(path, 1, 1, f"column {index + 1} has no name", "name the label it holds")
        elif name in header[:index]:
            yield Problem(path, 1, 1, f"column {name!r} is there twice", "rename or remove one of them")
        elif name.startswith(_SSH) and name.removeprefix(_SSH) not in _SSH_COLUMNS:
            hint = suggestion(name.removeprefix(_SSH), _SSH_COLUMNS)
            yield Problem(path, 1, 1, f"column {name!r}: a device has no such field below ssh", hint)


def _check_devices(path: str, body: str, lines: Sequence[int]) -> Iterator[Problem]:
    try:
        typed(body)
    except ValidationError as error:
        for detail in error.errors(include_url=False):
            index = detail["loc"][0]
            line = lines[index] if isinstance(index, int) else 1
            yield Problem(path, line, 1, *_said(detail["loc"][1:], detail["input"], detail["msg"]))


def _said(field: Sequence[int | str], value: object, message: str) -> tuple[str, str]:
    """Return the error of a cell, and the expected form."""
    shown, name = f"{str(value)[:60]!r}", str(field[-1])
    if field[0] == "id":
        return f"invalid id {shown}", DEVICE_ID_RULE
    if field[0] == "ssh" and name in _SSH_RULES:
        wrong, rule = _SSH_RULES[name]
        return f"column {_SSH + name!r}: {shown} is {wrong}", rule
    return message, ""


def _limited(path: str, problems: list[Problem]) -> list[Problem]:
    problems.sort()
    if len(problems) <= _MAX_PROBLEMS:
        return problems
    rest = len(problems) - _MAX_PROBLEMS
    return [*problems[:_MAX_PROBLEMS], Problem(path, problems[_MAX_PROBLEMS].line, 1, f"and {rest} more problems")]
