"""Renders Markdown reports. Called by the command line and, for pull requests, by the controller."""

from collections.abc import Mapping
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined


def _cell(text: object) -> str:
    """Keep text inside one table cell."""
    return str(text).replace("|", "\\|").replace("\n", " ")


def render_report(name: str, values: Mapping[str, Any]) -> str:
    """Render ``reports/NAME.md.j2``.

    Raises:
        jinja2.UndefinedError: The template uses a value that is not given.
    """
    environment = Environment(  # noqa: S701  # Markdown, not HTML; forges sanitise what they render
        loader=PackageLoader("edgewright_templates", "reports"),
        undefined=StrictUndefined,
        trim_blocks=False,
        keep_trailing_newline=True,
    )
    environment.filters["cell"] = _cell
    return environment.get_template(f"{name}.md.j2").render(values)
