"""The tables, for SQLite and PostgreSQL alike. Used by ``writing`` and ``lease``, and compared with the migrations.

A store holds environments. Artifacts and failures are shared by all of them; every other table's key begins with the
environment it belongs to, '' where there is only one. ``shared`` counts what changed in the shared tables.

Times are ISO 8601 text in UTC with microseconds (they sort as text), truth values are 0 and 1, and structures are
compact JSON text: both databases, and both ways of reading them, then see the same.
"""

from sqlalchemy import BigInteger, Column, Float, Index, Integer, MetaData, String, Table, Text

metadata = MetaData()


def _environment() -> Column[str]:
    return Column("environment", String(64), primary_key=True, server_default="")


control = Table(
    "control",
    metadata,
    _environment(),
    Column("version", BigInteger, nullable=False),
    Column("fence", BigInteger, nullable=False),
    Column("holder", Text, nullable=False),
    Column("host", Text, nullable=False),
    Column("machine", Text, nullable=False),
    Column("pid", Integer, nullable=False),
    Column("started", Text, nullable=False),
    Column("since", Text, nullable=False),
    Column("expires_at", Text, nullable=False),
    Column("last_revision", Text),
    Column("accepted_revision", Text),
    Column("last_event", BigInteger, nullable=False, server_default="0"),
)
"""One row for each environment that ever wrote: how often it changed, who may write, the revision applied last, the one
in force, and the number of the newest event. An empty holder: nobody."""

shared = Table(
    "shared",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("version", BigInteger, nullable=False),
)
"""One row: how often the tables that environments share changed."""

artifacts = Table(
    "artifacts",
    metadata,
    Column("fingerprint", String(80), primary_key=True),
    Column("action", String(32), nullable=False),
    Column("address", Text, nullable=False),
    Column("digest", Text, nullable=False),
    Column("seconds", Float, nullable=False),
    Column("created_at", String(40)),
    Column("body", Text, nullable=False),
)

failures = Table(
    "failures",
    metadata,
    Column("fingerprint", String(80), primary_key=True),
    Column("message", Text, nullable=False),
)

champions = Table(
    "champions",
    metadata,
    _environment(),
    Column("model", String(255), primary_key=True),
    Column("body", Text, nullable=False),
)

rollouts = Table(
    "rollouts",
    metadata,
    _environment(),
    Column("address", String(255), primary_key=True),
    Column("summary", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("releases", Text, nullable=False),
)
"""``state`` leaves the devices out; ``releases`` holds each release once, by the key that device rows name it with."""

rollout_devices = Table(
    "rollout_devices",
    metadata,
    _environment(),
    Column("address", String(255), primary_key=True),
    Column("device", String(128), primary_key=True),
    Column("body", Text, nullable=False),
)

controls = Table(
    "controls",
    metadata,
    _environment(),
    Column("address", String(255), primary_key=True),
    Column("body", Text, nullable=False),
)
"""What people asked of a rollout, until the process that holds the lease takes it up."""

assignments = Table(
    "assignments",
    metadata,
    _environment(),
    Column("device", String(128), primary_key=True),
    Column("version", BigInteger, nullable=False),
    Column("published", Integer, nullable=False),
    Column("body", Text, nullable=False),
)

reports = Table(
    "reports",
    metadata,
    _environment(),
    Column("device", String(128), primary_key=True),
    Column("sequence", BigInteger, nullable=False),
    Column("sent_at", String(40), nullable=False),
    Column("body", Text, nullable=False),
)

enrolled = Table(
    "enrolled",
    metadata,
    _environment(),
    Column("device", String(128), primary_key=True),
    Column("labels", Text, nullable=False),
)

inventory = Table(
    "inventory",
    metadata,
    _environment(),
    Column("address", String(255), primary_key=True),
    Column("prune_disabled", Integer, nullable=False),
)

intents = Table(
    "intents",
    metadata,
    _environment(),
    Column("name", String(255), primary_key=True),
    Column("action", String(32), nullable=False),
    Column("address", Text, nullable=False),
    Column("detail", Text, nullable=False),
    Column("at", String(40), nullable=False),
    Column("outcome", String(32)),
)

used_plans = Table(
    "used_plans",
    metadata,
    _environment(),
    Column("plan_id", String(255), primary_key=True),
    Column("used_at", String(40), nullable=False),
)

events = Table(
    "events",
    metadata,
    _environment(),
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    Column("at", String(40), nullable=False),
    Column("reason", String(64), nullable=False),
    Column("address", String(255), nullable=False),
    Column("message", Text, nullable=False),
    Column("data", Text, nullable=False),
    Column("revision", Text, nullable=False),
    Index("events_by_address", "environment", "address", "id"),
)
"""``id`` counts from 1 in each environment, in the order of the writes; ``events_after`` reads along the key."""

conditions = Table(
    "conditions",
    metadata,
    _environment(),
    Column("address", String(255), primary_key=True),
    Column("body", Text, nullable=False),
)

notified = Table(
    "notified",
    metadata,
    _environment(),
    Column("receiver", String(255), primary_key=True),
    Column("cursor", BigInteger, nullable=False),
)

signals = Table(
    "signals",
    metadata,
    _environment(),
    Column("name", String(255), primary_key=True),
    Column("given", BigInteger, nullable=False),
)

twins = Table(
    "twins",
    metadata,
    _environment(),
    Column("device", String(128), primary_key=True),
    Column("system", String(32), nullable=False),
    Column("sequence", BigInteger, nullable=False),
    Column("body", Text, nullable=False),
)
"""Devices that do not run our agent, as their drivers know them. Written without a lease, and no part of a version."""

identities = Table(
    "identities",
    metadata,
    _environment(),
    Column("system", String(32), primary_key=True),
    Column("identity_key", String(80), primary_key=True),
    Column("device", String(128), nullable=False),
    Column("standing", String(16), nullable=False),
    Column("asked_at", String(40), nullable=False),
    Column("decided_at", String(40)),
    Column("labels", Text, nullable=False),
    Column("detail", Text, nullable=False),
    Index("identities_by_device", "environment", "device"),
)
"""Keys and tokens that say they are a device's, and whether they are believed."""

inbox = Table(
    "inbox",
    metadata,
    _environment(),
    Column("device", String(128), primary_key=True),
    Column("sequence", BigInteger, nullable=False),
    Column("sent_at", String(40), nullable=False),
    Column("body", Text, nullable=False),
)
"""The newest report of each device that reports by HTTP, until the controller in charge takes it into ``reports``."""
