"""URLs of databases: which driver they mean, how to connect, and how to show them. Used by ``databases`` only.

A URL may hold a password. Nothing here, and no error about the URL, shows it.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError

from edgewright.errors import StateError
from edgewright.secret import HIDDEN, Secret

PSYCOPG = "postgresql+psycopg"
_HIDDEN_OPTIONS = ("password", "sslpassword")
_CONNECTING: Mapping[str, int] = {
    "connect_timeout": 10,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}
"""libpq's: a server that is gone is noticed within half a minute. The URL's own options count before these."""
_SETTINGS = ("SET lock_timeout = '30s'", "SET idle_in_transaction_session_timeout = '60s'")
"""A process that froze in the middle of a write does not keep others waiting for ever."""


def parse(url: str) -> URL:
    """Read a database's URL; ``postgresql://`` and ``postgres://`` mean psycopg.

    Raises:
        StateError: It is none.
    """
    try:
        address = make_url(url)
    except (ArgumentError, ValueError):  # ValueError: the port is no number. The cause may hold the password
        raise _wrong("the state store's URL is not one that can be used") from None
    if url.count("@") > 1:  # what follows the first one would be taken for a host, and shown
        raise _wrong("the state store's URL holds more than one @: write %40 for those in a user name or password")
    if address.drivername in {"postgres", "postgresql"}:
        address = address.set(drivername=PSYCOPG)
    return address


def shown(address: URL) -> str:
    """Write a URL without its passwords."""
    hidden = {name: HIDDEN for name in _HIDDEN_OPTIONS if name in address.query}
    return address.update_query_dict(hidden).render_as_string(hide_password=True).replace("%2A%2A%2A", HIDDEN)


def secrets_of(address: URL) -> Sequence[Secret]:
    """The passwords in a URL."""
    found = [address.password, *(address.query.get(name) for name in _HIDDEN_OPTIONS)]
    return [Secret(str(value)) for value in found if value]


def connect(address: URL) -> Engine:
    """Prepare to connect to a server; a connection that broke is noticed, and replaced, before it is used again.

    Raises:
        StateError: There is no such driver, or it is not installed.
    """
    where = shown(address)
    is_psycopg = address.drivername == PSYCOPG
    arguments = {name: value for name, value in _CONNECTING.items() if is_psycopg and name not in address.query}
    try:
        engine = create_engine(address, pool_pre_ping=True, connect_args=arguments)
    except (ArgumentError, NoSuchModuleError):
        raise _wrong(f"the state store's URL {where} is not one that can be used") from None
    except ImportError as error:
        raise StateError(
            f"the driver for the state store {where} is not installed: {error}",
            hint="pip install 'psycopg[binary]>=3.2'" if is_psycopg else "install it beside edgewright",
        ) from error
    if engine.dialect.name == "postgresql":
        event.listen(engine, "connect", _configure_postgresql)
    return engine


def is_postgresql(connection: Connection) -> bool:
    """Check whether a connection's database is PostgreSQL, and no SQLite file."""
    return connection.dialect.name == "postgresql"


def _configure_postgresql(connection: Any, _record: Any) -> None:
    cursor = connection.cursor()
    for setting in _SETTINGS:
        cursor.execute(setting)
    cursor.close()
    connection.commit()


def _wrong(message: str) -> StateError:
    return StateError(message, hint="write it like postgresql://user:password@host/name")
