"""Parses XML files safely: no document types, so no entities, and nothing from outside. Called by ``voc``."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from xml.parsers import expat

_DEEPEST = 32


class XmlFault(ValueError):
    """A file that is not read; the message is a predicate, with its place in ``line`` and ``column``."""

    def __init__(self, message: str, line: int, column: int) -> None:
        super().__init__(message)
        self.line = line
        self.column = column


@dataclass(slots=True)
class Element:
    """One element."""

    tag: str
    line: int
    column: int
    text: str = ""
    children: list["Element"] = field(default_factory=list)

    def find(self, tag: str) -> "Element | None":
        """Return the first child of a name."""
        return next(self.all(tag), None)

    def all(self, tag: str) -> Iterator["Element"]:
        """Yield the children of a name."""
        return (child for child in self.children if child.tag == tag)

    def value(self, tag: str) -> str | None:
        """Return the text of the first child of a name; None where it is not there or empty."""
        found = self.find(tag)
        return (found.text.strip() or None) if found is not None else None


def parse(data: bytes) -> Element:
    """Parse a file.

    Raises:
        XmlFault: It is no XML, has a document type, or is nested too deeply.
    """
    parser = expat.ParserCreate()
    stack = [Element("", 0, 0)]

    def fault(message: str) -> XmlFault:
        return XmlFault(message, parser.CurrentLineNumber, parser.CurrentColumnNumber + 1)

    def start(tag: str, _: dict[str, str]) -> None:
        if len(stack) > _DEEPEST:
            raise fault("is nested too deeply")
        made = Element(tag, parser.CurrentLineNumber, parser.CurrentColumnNumber + 1)
        stack[-1].children.append(made)
        stack.append(made)

    def end(_: str) -> None:
        stack.pop()

    def text(more: str) -> None:
        stack[-1].text += more

    def doctype(*_: object) -> None:
        raise fault("has a document type, which is not read")

    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = text
    parser.StartDoctypeDeclHandler = doctype
    parser.buffer_text = True
    try:
        parser.Parse(data, True)
    except expat.ExpatError as error:
        raise XmlFault(f"is no XML: {expat.ErrorString(error.code)}", error.lineno, error.offset + 1) from None
    except (ValueError, LookupError) as error:
        if isinstance(error, XmlFault):
            raise
        raise XmlFault(f"is no XML: {error}", 1, 1) from None  # an encoding that Python does not know
    return stack[0].children[0]
