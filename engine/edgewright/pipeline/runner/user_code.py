"""The repository's own code: loads ``path/file.py:name`` from a checkout and calls it. Used by every step.

An exception in it becomes UserCodeFailed, which shows the frames of the repository's files and no others.
"""

import importlib.util
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from hashlib import sha256
from pathlib import Path
from types import ModuleType
from typing import Any

from edgewright.errors import EdgewrightError, StepFailed, UserCodeFailed

_FRAMES = 8
_PREFIX = "edgewright_user_"
_folders: set[str] = set()
"""Every folder this process put into sys.path for the repository's code."""


def load(checkout: Path, reference: str) -> Any:
    """Load what ``path/file.py:name`` names.

    The checkout's root and the file's folder come first in ``sys.path`` while the file is imported, and stay for
    imports it does later; loading the same file again gives the same module.

    Raises:
        StepFailed: The reference is malformed, the file or the name is not there, or it leads out of the checkout.
        UserCodeFailed: Importing the file raised.
    """
    path, _, name = reference.partition(":")
    root = checkout.resolve()
    file = (root / path).resolve()
    if not path.endswith(".py") or not name:
        raise StepFailed(f"{reference!r} names no code", hint="write path/file.py:name, like code/steps.py:denoise")
    if not file.is_relative_to(root):
        raise StepFailed(f"{path} is outside the repository", hint="code must be in the repository")
    if not file.is_file():
        near = get_close_matches(path, [p.relative_to(root).as_posix() for p in root.rglob("*.py")], n=1)
        raise StepFailed(f"{path} is not in the repository", hint=f"did you mean {near[0]}?" if near else "")
    module = _import(root, file, reference)
    try:
        return getattr(module, name)
    except AttributeError:
        near = get_close_matches(name, vars(module), n=1)
        hint = f"did you mean {near[0]}?" if near else f"it defines {', '.join(_public(module)) or 'nothing'}"
        raise StepFailed(f"{path} has no {name!r}", hint=hint) from None


def call(checkout: Path, reference: str, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Call the repository's code.

    Raises:
        UserCodeFailed: It raised; the message says what and where in the repository.
    """
    with user_errors(checkout, reference):
        return function(*args, **kwargs)


@contextmanager
def user_errors(checkout: Path, reference: str) -> Iterator[None]:
    """Turn whatever the repository's code raises inside the block into UserCodeFailed."""
    try:
        yield
    except (EdgewrightError, KeyboardInterrupt, MemoryError, GeneratorExit):
        raise
    except BaseException as error:
        raise _failed(checkout, reference, error) from error


def _failed(checkout: Path, reference: str, error: BaseException) -> UserCodeFailed:
    root = checkout.resolve()
    frames = [f for f in traceback.extract_tb(error.__traceback__) if Path(f.filename).is_relative_to(root)]
    name = reference.partition(":")[2] or reference
    text = "".join(traceback.format_exception_only(error)).strip().splitlines()[-1]
    if isinstance(error, SyntaxError) and error.filename and Path(error.filename).is_relative_to(root):
        where = f"{Path(error.filename).relative_to(root).as_posix()}:{error.lineno}"
        return UserCodeFailed(f"{text} in {where} ({name})", hint=(error.text or "").strip())
    if not frames:
        return UserCodeFailed(f"{text} in {reference}")
    where = f"{Path(frames[-1].filename).relative_to(root).as_posix()}:{frames[-1].lineno}"
    advice = _advice(root, error)
    shown = [
        f"{Path(f.filename).relative_to(root).as_posix()}:{f.lineno} in {f.name}: {f.line}" for f in frames[-_FRAMES:]
    ]
    return UserCodeFailed(f"{text} in {where} ({name})", hint="\n  ".join([*advice, *shown]))


def _advice(root: Path, error: BaseException) -> list[str]:
    """Advise to declare a file of the repository that code looked for: only what it imports is there by itself."""
    if not isinstance(error, FileNotFoundError) or not isinstance(error.filename, str | os.PathLike):
        return []
    missing = (Path.cwd() / error.filename).resolve()
    if not missing.is_relative_to(root):
        return []
    path = missing.relative_to(root).as_posix()
    return [f"where the code reads files of the repository, list them beside use: inputs: [{path}]"]


def _import(root: Path, file: Path, reference: str) -> ModuleType:
    # A name from the path, so that code/steps.py and other/steps.py are two modules, whoever loads them.
    name = f"{_PREFIX}{sha256(str(file).encode()).hexdigest()[:16]}"
    if name in sys.modules:
        return sys.modules[name]
    _forget_namesakes(file.parent)
    for folder in (str(file.parent), str(root)):
        if folder in sys.path:
            sys.path.remove(folder)
        sys.path.insert(0, folder)
        _folders.add(folder)
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    importlib.invalidate_caches()
    try:
        with user_errors(root, reference):
            spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _forget_namesakes(folder: Path) -> None:
    """Unload modules of other folders, so that ``import helpers`` finds this folder's file."""
    ours = tuple(f"{known}{os.sep}" for known in _folders)  # plain text: thousands of modules are compared
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if not file or name.startswith(_PREFIX) or not file.startswith(ours):
            continue
        top = folder / name.partition(".")[0]
        if (top.is_dir() or top.with_suffix(".py").is_file()) and not Path(file).is_relative_to(folder):
            del sys.modules[name]


def _public(module: ModuleType) -> list[str]:
    return sorted(n for n, v in vars(module).items() if not n.startswith("_") and callable(v))
