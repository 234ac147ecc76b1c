"""Renders Markdown reports. Called by the command line and, for pull requests, by the controller.

Whatever a template writes is made inert, unless it is of type ``Markdown``.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from jinja2.runtime import Undefined

from edgewright_templates.inert import code, finished


def _shown(value: object) -> object:
    """Write a value; an undefined one is left to fail."""
    return value if isinstance(value, Undefined) else finished(value)


@lru_cache(maxsize=1)
def _environment() -> Environment:
    environment = Environment(  # noqa: S701  # Markdown, not HTML; ``finalize`` makes what is shown inert
        loader=PackageLoader("edgewright_templates", "reports"),
        undefined=StrictUndefined,
        trim_blocks=False,
        keep_trailing_newline=True,
        finalize=_shown,
    )
    environment.filters["code"] = code
    return environment


def render_report(name: str, values: Mapping[str, Any]) -> str:
    """Render ``reports/NAME.md.j2``.

    Raises:
        jinja2.UndefinedError: The template uses a value that is not given.
    """
    return _environment().get_template(f"{name}.md.j2").render(values)
