"""Keep devices of other update systems, who devices are, and reports that came in by HTTP."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Go to this revision."""
    op.create_table(
        "twins",
        *_key("device", 128),
        sa.Column("system", sa.String(32), nullable=False),
        sa.Column("sequence", sa.BigInteger, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
    )
    op.create_table(
        "identities",
        *_key("system", 32),
        sa.Column("identity_key", sa.String(80), primary_key=True),
        sa.Column("device", sa.String(128), nullable=False),
        sa.Column("standing", sa.String(16), nullable=False),
        sa.Column("asked_at", sa.String(40), nullable=False),
        sa.Column("decided_at", sa.String(40)),
        sa.Column("labels", sa.Text, nullable=False),
        sa.Column("detail", sa.Text, nullable=False),
    )
    op.create_index("identities_by_device", "identities", ["environment", "device"])
    op.create_table(
        "inbox",
        *_key("device", 128),
        sa.Column("sequence", sa.BigInteger, nullable=False),
        sa.Column("sent_at", sa.String(40), nullable=False),
        sa.Column("body", sa.Text, nullable=False),
    )


def _key(name: str, length: int) -> list[sa.Column[str]]:
    return [
        sa.Column("environment", sa.String(64), primary_key=True, server_default=""),
        sa.Column(name, sa.String(length), primary_key=True),
    ]
