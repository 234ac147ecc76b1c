"""A jinja2 sandbox whose templates end, and stay small. Used by ``devices``.

The sandbox keeps a template from reaching anything. What is added here keeps it from running for ever and from making
far more than a configuration file: turns of loops and calls are counted, texts and lists are measured before they are
multiplied. It is a belt for templates that nobody has reviewed yet, not a wall: memory is bounded by a process alone.
"""

import re
import threading
from collections.abc import Callable, Iterable, Iterator
from functools import wraps
from typing import Any, cast

from jinja2 import StrictUndefined, nodes
from jinja2.runtime import Context, Undefined
from jinja2.sandbox import SandboxedEnvironment
from jinja2.visitor import NodeTransformer

MAX_CHARACTERS = 1 << 20
"""Of what is rendered, and of any text or list on the way."""
MAX_STEPS = 200_000
"""Turns of loops and calls of one rendering."""
_MAX_BITS = 4096
_COUNTED = "edgewright.counted"
_JOINED = "edgewright.joined"
_REPEATING = ("batch", "center", "format", "indent", "slice", "tojson", "truncate", "wordwrap")
"""Filters that make as much as a number tells them to, and methods of texts."""
_METHODS = ("center", "expandtabs", "ljust", "rjust", "zfill")
_MAX_NUMBER = 1_000_000
_WIDTH = re.compile(r"[%:][^{}%a-zA-Z]*")
_WIDE = re.compile(r"\d{5}|\*")
_FROM_ARGUMENT = re.compile(r"\{[^{}]*\{")
"""A format whose width has five digits and more, or comes from an argument. Linear: templates may be a stranger's."""


class TooMuch(Exception):
    """A template passed a limit."""


class BoundedEnvironment(SandboxedEnvironment):
    """The sandbox with limits; ``begin`` starts the count for the thread it is called in."""

    intercepted_binops = frozenset({"+", "*", "**", "%"})

    def __init__(self, **options: Any) -> None:
        """Take jinja2's own options."""
        super().__init__(undefined=StrictUndefined, **options)
        self._local = threading.local()
        del self.globals["lipsum"]
        for name in _REPEATING:
            self.filters[name] = _with_small_numbers(self.filters[name])
        self.filters["replace"] = _measured_replace(self.filters["replace"])
        self.filters["join"] = _measured_join(self.filters["join"])
        self.filters[_COUNTED] = self._counted
        self.filters[_JOINED] = _joined

    def begin(self) -> None:
        """Begin one rendering."""
        self._local.steps = 0

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        tree = super()._parse(source, name, filename)
        _Counters(self).visit(tree)
        return tree

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N805  # as in jinja2
        """Call what a template calls."""
        __self._step()
        owner = getattr(__obj, "__self__", None)
        if isinstance(owner, str):
            _check_method(owner, __obj.__name__, args)
        return super().call(__context, __obj, *args, **kwargs)

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        """Look at a format before it is used; jinja2 makes it a safe one."""
        found = super().wrap_str_format(value)
        if found is not None:
            _check_format(value.__self__)
        return found

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Compute what could be large, unless it would be."""
        if operator == "%" and isinstance(left, str):
            _check_format(left)
        elif isinstance(left, int) and isinstance(right, int):
            bits = left.bit_length(), right.bit_length()
            _check(bits[0] * max(right, 0) if operator == "**" else sum(bits), _MAX_BITS)
        elif operator == "+" and isinstance(left, str | list | tuple) and isinstance(right, str | list | tuple):
            _check(len(left) + len(right))
        elif operator == "*":
            for one, other in ((left, right), (right, left)):
                if isinstance(one, str | list | tuple) and isinstance(other, int):
                    _check(len(one) * other)
        return super().call_binop(context, operator, left, right)

    def _step(self) -> None:
        self._local.steps = getattr(self._local, "steps", 0) + 1
        if self._local.steps > MAX_STEPS:
            raise TooMuch(f"more than {MAX_STEPS:,} turns of loops and calls")

    def _counted(self, items: Iterable[Any]) -> Iterator[Any]:
        for item in items:
            self._step()
            yield item


class _Counters(NodeTransformer):
    """Counts loops, and measures texts that are joined with ``~``."""

    def __init__(self, environment: BoundedEnvironment) -> None:
        self._environment = environment

    def visit_For(self, node: nodes.For) -> nodes.For:  # noqa: N802  # named by jinja2
        self.generic_visit(node)
        node.iter = self._filtered(node.iter, _COUNTED)
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Filter:  # noqa: N802  # named by jinja2
        self.generic_visit(node)
        return self._filtered(nodes.List(node.nodes, lineno=node.lineno), _JOINED)

    def _filtered(self, node: nodes.Node, name: str) -> nodes.Filter:
        made = nodes.Filter(cast(nodes.Expr, node), name, [], [], None, None, lineno=node.lineno)
        made.set_environment(self._environment)
        return made


def _check(size: int, limit: int = MAX_CHARACTERS) -> None:
    if size > limit:
        raise TooMuch(f"a text, list or number would grow over {limit:,}")


def _check_format(text: str) -> None:
    if _FROM_ARGUMENT.search(text) or any(_WIDE.search(width) for width in _WIDTH.findall(text)):
        raise TooMuch("the width in a format must be a number below 10,000")


def _check_method(text: str, name: str, arguments: tuple[Any, ...]) -> None:
    if name in _METHODS:
        _check_numbers(arguments)
    elif name == "replace" and len(arguments) > 1:
        _check_replace(text, str(arguments[0]), str(arguments[1]))
    elif name == "join" and arguments:
        _check_join(text, list(arguments[0]))


def _check_numbers(arguments: Iterable[Any]) -> None:
    for argument in arguments:
        if isinstance(argument, int) and abs(argument) > _MAX_NUMBER:
            raise TooMuch(f"{argument} is more than {_MAX_NUMBER:,}")


def _check_replace(text: str, old: str, new: str) -> None:
    _check(text.count(old) * len(new) + len(text))


def _check_join(separator: str, items: list[Any]) -> None:
    _check(sum(len(item) if isinstance(item, str) else 1 for item in items) + len(separator) * len(items))


def _joined(parts: list[Any]) -> str:
    texts = [str(part) for part in parts]
    _check_join("", texts)
    return "".join(texts)


def _with_small_numbers(filter_: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(filter_)
    def limited(*args: Any, **kwargs: Any) -> Any:
        if filter_.__name__ == "do_format":
            _check_format(str(args[0]))
        else:
            _check_numbers([*args, *kwargs.values()])
        return filter_(*args, **kwargs)

    return limited


def _measured_replace(filter_: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(filter_)
    def measured(context: Any, text: Any, old: Any, new: Any, *rest: Any, **named: Any) -> Any:
        _check_replace(str(text), str(old), str(new))
        return filter_(context, text, old, new, *rest, **named)

    return measured


def _measured_join(filter_: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(filter_)
    def measured(context: Any, items: Any, d: Any = "", attribute: Any = None) -> Any:
        if not isinstance(items, Undefined):
            items = list(items)
            _check_join(str(d), items)
        return filter_(context, items, d, attribute)

    return measured
