"""Credentials for remote repositories, from the environment. Called by ``wiring``."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edgewright.errors import SourceError
from edgewright.secret import Secret, from_variable

USERNAME = "EDGEWRIGHT_GIT_USERNAME"
PASSWORD = "EDGEWRIGHT_GIT_PASSWORD"  # noqa: S105 - a variable's name
TOKEN = "EDGEWRIGHT_GIT_TOKEN"  # noqa: S105 - a variable's name
SSH_KEY = "EDGEWRIGHT_GIT_SSH_KEY_FILE"
KNOWN_HOSTS = "EDGEWRIGHT_GIT_KNOWN_HOSTS_FILE"
CA = "EDGEWRIGHT_GIT_CA_FILE"
_WITH_A_TOKEN = "x-access-token"  # noqa: S105 - the user name that forges take with any token
_PRIVATE = 0o077


@dataclass(frozen=True, slots=True)
class Credentials:
    """Credentials to authenticate with, and trusted hosts and authorities."""

    username: str = ""
    password: Secret | None = None
    """Or token."""
    ssh_key: Path | None = None
    known_hosts: Path | None = None
    """None: the user's own."""
    ca: Path | None = None
    """Certificates of authorities for https; None: the system's."""

    @classmethod
    def from_environment(cls, variables: Mapping[str, str] = os.environ) -> "Credentials":
        """Read them.

        Raises:
            EdgewrightError: A file cannot be read, a secret is empty (SourceError: they contradict each other).
        """
        username = from_variable(USERNAME, variables)
        password = from_variable(PASSWORD, variables)
        token = from_variable(TOKEN, variables)
        if password is not None and token is not None:
            raise SourceError(f"both {PASSWORD} and {TOKEN} are set", hint="take one of them out")
        secret = password or token
        if username is not None and secret is None:
            raise SourceError(f"{USERNAME} is set without a password", hint=f"set {PASSWORD} or {TOKEN}, too")
        if password is not None and username is None:
            raise SourceError(f"{PASSWORD} is set without a user name", hint=f"set {USERNAME}, too")
        if any("\n" in value.reveal() or "\0" in value.reveal() for value in (username, secret) if value is not None):
            raise SourceError("the user name or password for Git has more than one line", hint="write it on one line")
        name = username.reveal() if username is not None else _WITH_A_TOKEN if token is not None else ""
        key = _file(variables, SSH_KEY)
        if key is not None and key.stat().st_mode & _PRIVATE:
            raise SourceError(f"the SSH key {key} can be read by others", hint=f"chmod 600 {key}")
        return cls(name, secret, key, _file(variables, KNOWN_HOSTS), _file(variables, CA))


def _file(variables: Mapping[str, str], name: str) -> Path | None:
    if not variables.get(name):
        return None
    path = Path(variables[name]).expanduser().absolute()
    try:
        with path.open("rb"):
            pass
    except OSError as error:
        raise SourceError(f"{name} names {path}, which cannot be read: {error.strerror}", hint="correct it") from error
    return path
