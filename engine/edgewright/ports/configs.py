"""Rendering device configurations. Implemented by ``cli.rendering``."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class ConfigRequest:
    """One device's configuration, to be rendered."""

    template: str
    """The template's text."""
    template_name: str
    """Its path, for messages."""
    values: Mapping[str, Any]
    device: str
    labels: Mapping[str, str]
    model: str
    fleet: str


class ConfigRenderer(Protocol):
    """Renders device configurations. Pure: the same request gives the same bytes."""

    def render(self, request: ConfigRequest) -> bytes:
        """Render strictly.

        Raises:
            StepFailed: The template is wrong or uses something undefined; names file and line.
        """
        ...
