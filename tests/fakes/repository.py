"""A folder in place of a repository's objects, for tests of what is staged from a checkout."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class FolderFiles:
    """Implements staging.RepositoryFiles; every revision is the folder as it is."""

    folder: Path

    def materialize(self, revision: str, paths: Sequence[str], into: Path) -> None:
        for path in paths:
            (into / path).parent.mkdir(parents=True, exist_ok=True)
            if (self.folder / path).is_dir():
                shutil.copytree(self.folder / path, into / path, dirs_exist_ok=True)
            else:
                shutil.copy2(self.folder / path, into / path)
