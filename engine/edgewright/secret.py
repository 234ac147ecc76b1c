"""Secrets from environment variables or files, never printed. Used by clients of other servers."""

import os
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from edgewright.errors import EdgewrightError

HIDDEN = "***"
_PR_SET_DUMPABLE = 4
"""From prctl(2)."""
_PREFIX = "EDGEWRIGHT_SECRET_"
_FOLDER = "EDGEWRIGHT_SECRETS"


class Secret:
    """A value that shows itself only when asked to."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """Return the value itself."""
        return self._value

    def __repr__(self) -> str:
        return f"Secret({HIDDEN})"

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)


def from_variable(name: str, environment: Mapping[str, str] = os.environ) -> Secret | None:
    """Read ``NAME``, or the file that ``NAME_FILE`` names; None where neither is set.

    Raises:
        EdgewrightError: The file cannot be read, or the secret is empty.
    """
    value = environment.get(name)
    file = environment.get(f"{name}_FILE")
    if value is None and file is None:
        return None
    where = name if value is not None else f"{name}_FILE"
    text = value if value is not None else _read(Path(file or ""), where)
    if not text.strip():
        raise EdgewrightError(f"the secret in {where} is empty", hint=f"set {where}, or take it out")
    return Secret(text.strip())


def named(name: str, environment: Mapping[str, str] = os.environ) -> Secret:
    """Find a secret that specs name: a variable ``EDGEWRIGHT_SECRET_…``, or a file in ``EDGEWRIGHT_SECRETS``.

    Raises:
        EdgewrightError: There is none, or it cannot be read.
    """
    variable = _PREFIX + name.upper().replace("-", "_")
    if (found := from_variable(variable, environment)) is not None:
        return found
    folder = environment.get(_FOLDER)
    if folder and (Path(folder) / name).is_file():
        return Secret(_read(Path(folder) / name, f"the file {name} in {_FOLDER}").strip())
    raise EdgewrightError(
        f"there is no secret {name!r}", hint=f"set {variable}, or put a file {name} into the folder {_FOLDER} names"
    )


def redact(text: str, secrets: Iterable[Secret | None]) -> str:
    """Replace every secret in a text."""
    for secret in secrets:
        if secret is not None and secret.reveal():
            text = text.replace(secret.reveal(), HIDDEN)
    return text


def keep_from_siblings() -> None:
    """Deny other processes of this user this process's memory and environment, on Linux.

    The repository's code runs as the same user, in worker processes. Against root, nothing helps.
    """
    if sys.platform == "linux":
        import ctypes

        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def _read(path: Path, where: str) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise EdgewrightError(f"cannot read {where} ({path}): {error}", hint="make it readable, as UTF-8") from error
