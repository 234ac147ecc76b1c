"""Renders the configuration file of one device from a repository's jinja2 template.

Templates are strict: a name or label that is not there is an error, never an empty string. They run in jinja2's
sandbox, without loaders and within limits (``bounds``): a template reads its context and nothing else, ends, and writes
no more than a configuration file. The same context gives the same bytes. Called by the control plane when it assigns;
a template is compiled once for all devices.
"""

from collections.abc import Mapping
from functools import lru_cache
from types import TracebackType
from typing import Any

from jinja2 import Template, TemplateSyntaxError

from edgewright_templates.bounds import MAX_CHARACTERS, BoundedEnvironment, TooMuch


class TemplateProblem(Exception):
    """A template cannot be rendered: which file, which line (0: not known), and why."""

    def __init__(self, path: str, line: int, message: str) -> None:
        super().__init__(f"{path}:{line}: {message}" if line else f"{path}: {message}")
        self.path = path
        self.line = line
        self.message = message


def render_config(
    template_text: str,
    *,
    device_id: str,
    labels: Mapping[str, str],
    model: str,
    fleet: str,
    values: Mapping[str, Any],
    template_name: str,
) -> bytes:
    """Render one device's configuration.

    The template sees ``device.id``, ``device.labels``, ``model`` and ``fleet`` (names) and ``values``.

    Args:
        template_text: The template.
        device_id: The device.
        labels: Its labels.
        model: Name of the model the file goes with.
        fleet: Name of the device's fleet.
        values: ``spec.config.values`` of the fleet.
        template_name: The template's path, for messages.

    Returns:
        The file's bytes, UTF-8, line ends as in the template.

    Raises:
        TemplateProblem: The template's syntax is wrong, a name is not defined, an expression fails, or it is too much.
    """
    context = {
        "device": {"id": device_id, "labels": dict(labels)},
        "model": model,
        "fleet": fleet,
        "values": values,
    }
    return render_strictly(template_text, context, template_name)


def render_strictly(template_text: str, context: Mapping[str, Any], template_name: str) -> bytes:
    """Render a template of a repository that sees ``context`` and nothing else; called for bundles' descriptors, too.

    Returns:
        UTF-8, line ends as in the template.

    Raises:
        TemplateProblem: As in render_config.
    """
    template = _compiled(template_text, template_name)
    try:
        return _rendered(template, context).encode("utf-8")
    except UnicodeEncodeError as error:
        raise TemplateProblem(
            template_name, 0, "it renders text that is no Unicode (half of a surrogate pair)"
        ) from error
    except Exception as error:  # a template's expressions may raise anything
        line = _line(error.__traceback__, template_name)
        raise TemplateProblem(template_name, line, _reason(error)) from error


def _rendered(template: Template, context: Mapping[str, Any]) -> str:
    assert isinstance(template.environment, BoundedEnvironment)
    template.environment.begin()
    pieces, size = [], 0
    for piece in template.generate(context):
        size += len(piece)
        if size > MAX_CHARACTERS:
            raise TooMuch(f"it renders more than {MAX_CHARACTERS:,} characters")
        pieces.append(piece)
    return "".join(pieces)


def check_template(template_text: str, template_name: str) -> None:
    """Compile a template without rendering it.

    Raises:
        TemplateProblem: Its syntax is wrong.
    """
    _compiled(template_text, template_name)


@lru_cache(maxsize=64)
def _compiled(text: str, name: str) -> Template:
    environment = BoundedEnvironment(
        keep_trailing_newline=True,
        newline_sequence="\r\n" if "\r\n" in text else "\n",
        autoescape=False,  # configuration files are not HTML
    )
    try:
        code = environment.compile(text, name, name)
    except TemplateSyntaxError as error:
        raise TemplateProblem(name, error.lineno, error.message or "syntax error") from error
    return Template.from_code(environment, code, environment.make_globals(None))


def _reason(error: Exception) -> str:
    message = str(error)
    is_plain = isinstance(error, TooMuch) or type(error).__module__.startswith("jinja2")
    return message if is_plain else f"{type(error).__name__}: {message}"


def _line(trace: TracebackType | None, name: str) -> int:
    """The template's line: jinja2 gives the frames of a template its file name and lines."""
    line = 0
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == name:
            line = trace.tb_lineno
        trace = trace.tb_next
    return line
