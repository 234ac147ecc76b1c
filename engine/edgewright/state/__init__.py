"""The state store: what was made, assigned, reported and intended; SQLite by default."""
