"""Files that specs name: are they there, are they sound, what is their digest. Called by ``reading``."""

from collections.abc import Callable, Iterator

from edgewright.core.address import Address
from edgewright.errors import Problem, SourceError
from edgewright.source.bounds import MAX_INVENTORY_BYTES
from edgewright.source.git import keyfiles
from edgewright.source.paths import PathRefused, normalise
from edgewright.source.pointers import HINT as LFS_HINT
from edgewright.source.pointers import is_pointer
from edgewright.source.specs import inventories
from edgewright.source.specs.code import CodeReader, check_reference, split_reference
from edgewright.source.specs.references import FieldProblem, NamedPath, named_paths
from edgewright.source.trees import Tree
from edgewright_schemas.base import is_code_reference
from edgewright_schemas.kinds import Document
from edgewright_schemas.repository import Repository


class Contents:
    """Collects digests while it checks documents; the mappings are the snapshot's."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._reader = CodeReader(tree)
        self.code: dict[str, str] = {}
        self.code_files: dict[str, tuple[str, ...]] = {}
        self.content: dict[str, str] = {}
        self.inventories: dict[str, str] = {}
        """Blob ids by path."""
        self.problems: list[Problem] = []
        """What is wrong inside inventories and files of keys, at their own lines."""
        self._digests: dict[str, str | None] = {}

    def check(self, address: Address, document: Document) -> Iterator[FieldProblem]:
        """Check every path a document names, and note the digest of what is there."""
        for named in named_paths(document):
            try:
                found = self._check(named)
            except PathRefused as error:
                found = (str(error), _hint(named, error))
            if found is not None:
                yield FieldProblem(address, named.field, *found)
        if isinstance(document, Repository):
            yield from self._keys(address, document)

    def _keys(self, address: Address, repository: Repository) -> Iterator[FieldProblem]:
        """Check the files of keys: they decide on the next revision, so a broken one must not come into force."""
        wanted = repository.spec.verification
        if wanted is None:
            return
        named: list[tuple[str, str, str, Callable[[str, bytes], list[Problem]]]] = []
        if wanted.ssh is not None:
            named.append(("ssh", "allowedSigners", wanted.ssh.allowed_signers, keyfiles.check_signers))
            if wanted.ssh.revoked is not None:
                named.append(("ssh", "revoked", wanted.ssh.revoked, keyfiles.check_revoked))
        if wanted.gpg is not None:
            named.append(("gpg", "keys", wanted.gpg.keys, keyfiles.check_gpg))
        for trust, name, path, check in named:
            field = ("spec", "verification", trust, name)
            try:
                self.problems.extend(check(path, self._tree.read(path)))
            except PathRefused as error:
                yield FieldProblem(address, field, str(error), error.hint)
            except SourceError as error:
                yield FieldProblem(address, field, error.message, error.hint or "commit it")

    def _check(self, named: NamedPath) -> tuple[str, str] | None:
        match named.role:
            case "code":
                return self._code(named.path)
            case "inventory":
                return self._inventory(named.path)
            case "output":
                normalise(named.path)
                return None
            case "content" | "needed-content":
                return self._content(named)

    def _code(self, use: str) -> tuple[str, str] | None:
        path, _ = split_reference(use)
        if not is_code_reference(use):
            hint = f"write {path}:name" if path.endswith(".py") else "write path/file.py:name"
            return f"expected code as path/file.py:name, found {use!r}", hint
        closure, message, hint = check_reference(self._reader, self._tree, use)
        if closure is None:
            return message, hint
        self.code[path] = closure.digest
        self.code_files[path] = closure.files
        return None

    def _content(self, named: NamedPath) -> tuple[str, str] | None:
        path = named.path
        if path not in self._digests:
            self._digests[path] = self._tree.digest(path)
        digest = self._digests[path]
        if digest is not None:
            self.content[path] = digest
            return None
        if named.role == "needed-content":
            return f"there is no {path} in this revision", self._tree.suggest(path) or "commit it"
        return None

    def _inventory(self, path: str) -> tuple[str, str] | None:
        if path in self.inventories:
            return None
        entry = self._tree.find(path)
        if entry is None or not entry.is_file:
            return f"there is no file {path} in this revision", self._tree.suggest(path) or "commit it"
        self.inventories[path] = entry.id
        self.content[path] = f"git:{entry.id}"
        if len(self.inventories) > 1:
            total = sum(map(self._tree.objects.size, set(self.inventories.values())))
            if total > MAX_INVENTORY_BYTES:
                what = f"the inventories have {total:,} bytes together"
                return what, f"the limit is {MAX_INVENTORY_BYTES:,} bytes"
        if self._tree.cache.get("inventory", entry.id) is None:
            data = self._tree.objects.blob(entry.id, inventories.MAX_BYTES)
            if is_pointer(data):
                return f"{path} is a Git LFS pointer; the file itself is not in Git", LFS_HINT
            body, problems = inventories.load_inventory(path, data)
            self.problems.extend(problems)
            if not problems:
                self._tree.cache.put("inventory", {entry.id: body})
        return None


def _hint(named: NamedPath, error: PathRefused) -> str:
    if named.role == "content" and named.path.startswith("/"):
        return f"{error.hint}; outside the repository, write file://{named.path}"
    return error.hint
