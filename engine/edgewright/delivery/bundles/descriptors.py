"""Renders a bundle's descriptor from edgewright's template or the fleet's. Called by ``maker``, ``swu``, ``raucb``."""

from collections.abc import Mapping
from typing import Any

from edgewright.delivery.bundles.orders import ReadFile
from edgewright.errors import DeliveryError
from edgewright_schemas.delivery import Bundle

_OWN: Mapping[str, str] = {"swu": "sw-description", "rauc": "manifest.raucm"}


def load_template(bundle: Bundle, read: ReadFile) -> tuple[str, str]:
    """Load the template of a descriptor: its name and text.

    Raises:
        DeliveryError: The fleet's template is no text.
        EdgewrightError: As ``read`` raises.
    """
    if bundle.template is not None:
        try:
            return bundle.template, read(bundle.template).decode("utf-8")
        except UnicodeDecodeError as error:
            raise DeliveryError(f"{bundle.template} is not UTF-8", hint="save the file as UTF-8") from error
    from edgewright_templates.bundles import read_template

    name = _OWN[bundle.format]
    return f"{name}.j2", read_template(name)


def render_descriptor(template: tuple[str, str], context: Mapping[str, Any]) -> bytes:
    """Render a descriptor strictly.

    Raises:
        DeliveryError: The template is wrong or uses an undefined name; with file and line.
    """
    from edgewright_templates.devices import TemplateProblem, render_strictly

    name, text = template
    try:
        return render_strictly(text, context, name)
    except TemplateProblem as problem:
        raise DeliveryError(
            f"{problem.path}:{problem.line}: {problem.message}"
            if problem.line
            else f"{problem.path}: {problem.message}",
            hint=f"a descriptor's template may use {', '.join(sorted(context))}",
        ) from problem
