"""Keep several environments in one store, and what a controller must remember."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

KEYS = {
    "champions": ["model"],
    "rollouts": ["address"],
    "rollout_devices": ["address", "device"],
    "controls": ["address"],
    "assignments": ["device"],
    "reports": ["device"],
    "enrolled": ["device"],
    "inventory": ["address"],
    "intents": ["name"],
    "used_plans": ["plan_id"],
    "events": ["id"],
}
"""Tables that belong to an environment from now on, and their keys until now. What is stored is environment ''."""


def upgrade() -> None:
    """Go to this revision."""
    op.drop_index("events_by_address", "events")
    for table, columns in KEYS.items():
        _add_environment(table, columns)
    op.create_index("events_by_address", "events", ["environment", "address", "id"])
    _remake_control()
    shared = op.create_table(
        "shared",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("version", sa.BigInteger, nullable=False),
    )
    op.bulk_insert(shared, [{"id": 1, "version": 0}])
    op.create_table("conditions", *_key("address"), sa.Column("body", sa.Text, nullable=False))
    op.create_table("notified", *_key("receiver"), sa.Column("cursor", sa.BigInteger, nullable=False))
    op.create_table("signals", *_key("name"), sa.Column("given", sa.BigInteger, nullable=False))


def _environment() -> sa.Column[str]:
    return sa.Column("environment", sa.String(64), primary_key=True, server_default="")


def _key(name: str) -> list[sa.Column[str]]:
    return [_environment(), sa.Column(name, sa.String(255), primary_key=True)]


def _add_environment(table: str, key: list[str]) -> None:
    if op.get_bind().dialect.name == "sqlite":
        _remake(table, key)
        return
    op.add_column(table, sa.Column("environment", sa.String(64), nullable=False, server_default=""))
    op.drop_constraint(f"{table}_pkey", table, type_="primary")
    op.create_primary_key(f"{table}_pkey", table, ["environment", *key])
    if table == "events":
        op.alter_column(table, "id", type_=sa.BigInteger, server_default=None)
        op.execute("DROP SEQUENCE IF EXISTS events_id_seq")


def _remake(table: str, key: list[str]) -> None:
    """Copy a table into one with another key, which SQLite cannot change."""
    connection = op.get_bind()
    columns = sa.inspect(connection).get_columns(table)
    op.create_table(
        "remade",
        _environment(),
        *(
            sa.Column(
                column["name"],
                sa.BigInteger() if column["name"] == "id" else column["type"],
                primary_key=column["name"] in key,
                autoincrement=False,
                nullable=column["nullable"],
            )
            for column in columns
        ),
    )
    names = ", ".join(column["name"] for column in columns)
    op.execute(f"INSERT INTO remade (environment, {names}) SELECT '', {names} FROM {table}")  # noqa: S608 - constants
    op.drop_table(table)
    op.rename_table("remade", table)


def _remake_control() -> None:
    """Make the table anew: its key is another one. A row that nobody ever wrote to is left out."""
    connection = op.get_bind()
    stored = connection.execute(sa.text("SELECT * FROM control WHERE version > 0 OR fence > 0")).mappings().all()
    newest = connection.execute(sa.text("SELECT max(id) FROM events")).scalar() or 0
    op.drop_table("control")
    control = op.create_table(
        "control",
        _environment(),
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
        sa.Column("accepted_revision", sa.Text),
        sa.Column("last_event", sa.BigInteger, nullable=False, server_default="0"),
    )
    rows = [{**row, "environment": "", "last_event": newest} for row in stored]
    for row in rows:
        del row["id"]
    op.bulk_insert(control, rows)
