"""Descriptors and scripts of bundles for SWUpdate and RAUC, as jinja2 templates."""

from pathlib import Path


def read_template(name: str) -> str:
    """Read one of edgewright's own templates."""
    return (Path(__file__).parent / f"{name}.j2").read_text(encoding="utf-8")
