"""Error for an import of a module that moved: it names the new one. Used by ``edgewright`` and ``edgewright_agent``.

User code (architectures, dataset steps, runtimes, applications) may import a module by the name it had in an earlier
version. A finder at the end of ``sys.meta_path`` is asked only when every other finder has failed, and reads the table
of moves only then, so that it costs nothing where all imports succeed.
"""

import importlib
import sys
from collections.abc import Mapping, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType


class MovedModules:
    """Finder for the old names of one distribution's modules.

    Args:
        package: The distribution's top package.
        table: Module with ``MOVED``, a mapping from old to new names.
    """

    def __init__(self, package: str, table: str) -> None:
        self._prefix = f"{package}."
        self._table = table

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return None for a name that never was; an empty package for an old package with modules.

        Raises:
            ModuleNotFoundError: The module moved; the message names the new one.
        """
        if not fullname.startswith(self._prefix) or fullname == self._table:
            return None
        moved: Mapping[str, str] = importlib.import_module(self._table).MOVED
        if any(old.startswith(f"{fullname}.") for old in moved):
            return ModuleSpec(fullname, None, is_package=True)
        if fullname in moved:
            # Without ``name``: ``from package import module`` would take the error for the lack of an attribute.
            raise ModuleNotFoundError(f"{fullname} moved to {moved[fullname]}: import it from there")
        return None


def report_moved_modules(package: str, table: str) -> None:
    """Name the new module whenever an old one is imported."""
    sys.meta_path.append(MovedModules(package, table))
