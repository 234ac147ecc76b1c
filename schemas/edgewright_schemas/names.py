"""Names that need no model: imported without pydantic."""

REPOSITORY_FILE = "edgewright.yaml"
