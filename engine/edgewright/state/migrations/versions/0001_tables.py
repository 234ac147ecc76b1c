"""Make all tables."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Go to this revision."""
    _create_control()
    _create_artifacts()
    _create_rollouts()
    _create_devices()
    _create_journal()


def _create_control() -> None:
    """Create the table of environments' leases and versions, with its one row."""
    op.create_table(
        "control",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("fence", sa.BigInteger, nullable=False),
        sa.Column("holder", sa.Text, nullable=False),
        sa.Column("host", sa.Text, nullable=False),
        sa.Column("machine", sa.Text, nullable=False),
        sa.Column("pid", sa.Integer, nullable=False),
        sa.Column("started", sa.Text, nullable=False),
        sa.Column("since", sa.Text, nullable=False),
        sa.Column("expires_at", sa.Text, nullable=False),
        sa.Column("last_revision", sa.Text),
    )
    op.execute(
        "INSERT INTO control (id, version, fence, holder, host, machine, pid, started, since, expires_at) "
        "VALUES (1, 0, 0, '', '', '', 0, '', '', '')"
    )


def _create_artifacts() -> None:
    """Create the tables of what was built."""
    op.create_table(
        "artifacts",
        sa.Column("fingerprint", sa.String(80), primary_key=True),
        sa.Column("action", sa.String(32), nullable=False),
        sa.Column("address", sa.Text, nullable=False),
        sa.Column("digest", sa.Text, nullable=False),
        sa.Column("seconds", sa.Float, nullable=False),
        sa.Column("created_at", sa.String(40)),
        sa.Column("body", sa.Text, nullable=False),
    )
    op.create_table(
        "failures",
        sa.Column("fingerprint", sa.String(80), primary_key=True),
        sa.Column("message", sa.Text, nullable=False),
    )
    op.create_table(
        "champions",
        sa.Column("model", sa.String(255), primary_key=True),
        sa.Column("body", sa.Text, nullable=False),
    )


def _create_rollouts() -> None:
    """Create the tables of rollouts."""
    op.create_table(
        "rollouts",
        sa.Column("address", sa.String(255), primary_key=True),
        sa.Column("summary", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("releases", sa.Text, nullable=False),
    )
    op.create_table(
        "rollout_devices",
        sa.Column("address", sa.String(255), primary_key=True),
        sa.Column("device", sa.String(128), primary_key=True),
        sa.Column("body", sa.Text, nullable=False),
    )
    op.create_table(
        "controls",
        sa.Column("address", sa.String(255), primary_key=True),
        sa.Column("body", sa.Text, nullable=False),
    )


def _create_devices() -> None:
    """Create the tables of devices."""
    op.create_table(
        "assignments",
        sa.Column("device", sa.String(128), primary_key=True),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("published", sa.Integer, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
    )
    op.create_table(
        "reports",
        sa.Column("device", sa.String(128), primary_key=True),
        sa.Column("sequence", sa.BigInteger, nullable=False),
        sa.Column("sent_at", sa.String(40), nullable=False),
        sa.Column("body", sa.Text, nullable=False),
    )
    op.create_table(
        "enrolled",
        sa.Column("device", sa.String(128), primary_key=True),
        sa.Column("labels", sa.Text, nullable=False),
    )


def _create_journal() -> None:
    """Create the tables of managed resources, intents and history."""
    op.create_table(
        "inventory",
        sa.Column("address", sa.String(255), primary_key=True),
        sa.Column("prune_disabled", sa.Integer, nullable=False),
    )
    op.create_table(
        "intents",
        sa.Column("name", sa.String(255), primary_key=True),
        sa.Column("action", sa.String(32), nullable=False),
        sa.Column("address", sa.Text, nullable=False),
        sa.Column("detail", sa.Text, nullable=False),
        sa.Column("at", sa.String(40), nullable=False),
        sa.Column("outcome", sa.String(32)),
    )
    op.create_table(
        "used_plans",
        sa.Column("plan_id", sa.String(255), primary_key=True),
        sa.Column("used_at", sa.String(40), nullable=False),
    )
    op.create_table(
        "events",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("at", sa.String(40), nullable=False),
        sa.Column("reason", sa.String(64), nullable=False),
        sa.Column("address", sa.String(255), nullable=False),
        sa.Column("message", sa.Text, nullable=False),
        sa.Column("data", sa.Text, nullable=False),
        sa.Column("revision", sa.Text, nullable=False),
    )
    op.create_index("events_by_address", "events", ["address", "id"])
