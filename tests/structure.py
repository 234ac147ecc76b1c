"""Measure the code's structure: ``python tests/structure.py [FOLDER]`` prints what ``unit/test_structure.py`` bounds.

Modules to a folder, lines to a module and to a function, and the share of docstrings whose first line is not in the
style of this project: it opens with a relative clause or a word of our own manner instead of a verb of the field
(Return, Parse, Publish, Revoke) or a noun. CONTRIBUTING.md says more.
"""

import ast
import re
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass
from pathlib import Path

SOURCES = ("engine", "fleet", "schemas", "templates", "benchmarks", "tests")
PRODUCT = ("engine", "fleet", "schemas", "templates")
MANNER = re.compile(
    r"(What|Whatever|Who|Whoever|Whom|Whose|Whether|Which|Where|When|Why|How|Nobody|Somebody|Someone|Anybody|Anyone"
    r"|Everybody|Everyone|Nothing|Anything|Everything|Say|Says|Tell|Tells|Told|Let|Lets|Have|Has|Had|Bring|Brings"
    r"|Believe|Believes|Becoming|Being)\b"
)
"""First words of the manner that gave way: clauses instead of verbs, and verbs that no reader would search for."""


@dataclass(frozen=True, slots=True)
class Docstring:
    """The first line of a docstring, and where it stands."""

    file: Path
    line: int
    text: str

    @property
    def is_old(self) -> bool:
        """Whether it opens in the manner that gave way."""
        return MANNER.match(self.text) is not None


@dataclass(frozen=True, slots=True)
class Function:
    """A function or method and its length in lines, decorators and docstring left out."""

    file: Path
    line: int
    name: str
    lines: int


def modules(root: Path, folders: tuple[str, ...] = SOURCES) -> list[Path]:
    """Return the Python files of the checkout, in order."""
    found = (file for folder in folders for file in (root / folder).rglob("*.py"))
    return sorted(file for file in found if "scaffold" not in file.parts and ".venv" not in file.parts)


def folder_sizes(root: Path, folders: tuple[str, ...] = SOURCES) -> Counter[Path]:
    """Count the modules of each folder; ``__init__.py`` counts."""
    return Counter(file.parent for file in modules(root, folders))


def functions(file: Path) -> Iterator[Function]:
    """Yield the functions of a module."""
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[1] if ast.get_docstring(node) is not None and len(node.body) > 1 else node.body[0]
            signature = node.body[0].lineno - node.lineno
            length = (node.end_lineno or node.lineno) - first.lineno + 1 + signature
            yield Function(file, node.lineno, node.name, length)


def docstrings(file: Path) -> Iterator[Docstring]:
    """Yield the first line of every docstring of a module."""
    tree = ast.parse(file.read_text("utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node)
            if text:
                yield Docstring(file, getattr(node, "lineno", 1), text.splitlines()[0])


def import_graph(source: Path, package: str) -> dict[str, set[str]]:
    """Return what each module of a package imports when it is loaded; lazy and annotation imports are left out."""
    names = {_dotted(file, source): file for file in sorted((source / package).rglob("*.py"))}
    return {name: set(_imported(file, names.keys())) - {name} for name, file in names.items()}


def circles(imports: Mapping[str, Set[str]]) -> list[list[str]]:
    """Return the circles of an import graph, as far as a walk in depth meets them."""
    found, done = list[list[str]](), set[str]()

    def walk(name: str, above: list[str]) -> None:
        if name in above:
            found.append([*above[above.index(name) :], name])
        elif name not in done:
            for each in sorted(imports[name]):
                walk(each, [*above, name])
            done.add(name)

    for name in imports:
        walk(name, [])
    return found


def _dotted(file: Path, source: Path) -> str:
    return ".".join(file.relative_to(source).with_suffix("").parts).removesuffix(".__init__")


def _imported(file: Path, known: Set[str]) -> Iterator[str]:
    waiting: list[ast.stmt] = list(ast.parse(file.read_text("utf-8")).body)
    while waiting:
        match waiting.pop():
            case ast.Import(names=names):
                yield from (each.name for each in names if each.name in known)
            case ast.ImportFrom(module=str(module), names=names):
                inner = {f"{module}.{each.name}" for each in names} & known
                yield from inner
                if module in known and len(inner) < len(names):
                    yield module
            case ast.Try(body=body) | ast.ClassDef(body=body):
                waiting += body


def main(root: Path) -> None:
    """Print the figures, and what stands out."""
    found = [each for file in modules(root, PRODUCT) for each in docstrings(file)]
    old = [each for each in found if each.is_old]
    if "-v" in sys.argv:
        for each in old:
            print(f"{each.file.relative_to(root)}:{each.line}: {each.text}")
    print(f"docstrings in the old manner: {len(old)} of {len(found)} ({len(old) / len(found):.1%})")
    sizes = folder_sizes(root)
    print("most modules in a folder:", *(f"{n} {d.relative_to(root)}" for d, n in sizes.most_common(5)), sep="\n  ")
    lines = Counter({file: len(file.read_text("utf-8").splitlines()) for file in modules(root)})
    print("longest modules:", *(f"{n} {f.relative_to(root)}" for f, n in lines.most_common(5)), sep="\n  ")
    longest = sorted((f for file in modules(root) for f in functions(file)), key=lambda each: -each.lines)
    print(
        "longest functions:",
        *(f"{f.lines} {f.file.relative_to(root)}:{f.line} {f.name}" for f in longest[:12]),
        sep="\n  ",
    )


if __name__ == "__main__":
    main(Path(next((argument for argument in sys.argv[1:] if argument != "-v"), ".")).resolve())
