"""The sizes of folders, modules and functions, and the style of docstrings: bounds that a change may not pass."""

from paths import ROOT
from structure import PRODUCT, circles, docstrings, folder_sizes, functions, import_graph, modules

MOST_MODULES = 18
MOST_LINES = 400
MOST_FUNCTION_LINES = 60
MOST_OLD_SHARE = 0.02


def test_no_folder_has_too_many_modules() -> None:
    full = {
        str(folder.relative_to(ROOT)): count for folder, count in folder_sizes(ROOT).items() if count > MOST_MODULES
    }
    assert not full, "divide them by subject"


def test_no_module_is_too_long() -> None:
    lengths = {file: len(file.read_text("utf-8").splitlines()) for file in modules(ROOT)}
    long = {str(file.relative_to(ROOT)): lines for file, lines in lengths.items() if lines > MOST_LINES}
    assert not long, "divide them by subject"


def test_no_function_is_too_long() -> None:
    every = [each for file in modules(ROOT) for each in functions(file)]
    long = [f"{f.file.relative_to(ROOT)}:{f.line} {f.name}: {f.lines}" for f in every if f.lines > MOST_FUNCTION_LINES]
    assert len(every) > 3000, "the sources are found"
    assert not long, "take steps out of them"


def test_docstrings_open_with_a_verb_or_a_noun() -> None:
    found = [each for file in modules(ROOT, PRODUCT) for each in docstrings(file)]
    old = [f"{each.file.relative_to(ROOT)}:{each.line}: {each.text}" for each in found if each.is_old]
    assert len(found) > 3000, "the sources are found"
    assert len(old) <= MOST_OLD_SHARE * len(found), "\n".join(old)


def test_every_folder_of_the_product_says_what_is_in_it() -> None:
    folders = {file.parent for file in modules(ROOT, PRODUCT)}
    silent = [
        str(folder.relative_to(ROOT))
        for folder in sorted(folders)
        if "migrations" not in folder.parts and not any(docstrings(folder / "__init__.py"))
    ]
    assert not silent


def test_no_module_of_the_engine_imports_itself_in_a_circle() -> None:
    imports = import_graph(ROOT / "engine", "edgewright")
    assert len(imports) > 300, "the modules are found"
    assert [" → ".join(circle) for circle in circles(imports)] == []
