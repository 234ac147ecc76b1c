"""Renders model cards: Markdown below Hugging Face front matter. Called by the package step.

The same values give the same bytes. Format: https://huggingface.co/docs/hub/model-cards
"""

from collections.abc import Mapping
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

_ESCAPED = str.maketrans({"|": "\\|", "<": "&lt;", "`": "'", "\n": " ", "\r": " "})


def render_model_card(values: Mapping[str, Any]) -> str:
    """Render ``cards/model.md.j2``.

    Raises:
        jinja2.UndefinedError: The template uses a value that is not given.
    """
    environment = Environment(  # noqa: S701 - Markdown; what comes from data goes through ``cell``
        loader=PackageLoader("edgewright_templates", "cards"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["cell"] = _cell
    environment.filters["figure"] = _figure
    return environment.get_template("model.md.j2").render(values)


def _cell(text: object) -> str:
    """Keep text inside one table cell or code span."""
    return str(text).translate(_ESCAPED)


def _figure(value: float | None) -> str:
    """Write a figure; one that could not be computed is a dash."""
    return "–" if value is None else f"{value:.6g}"
