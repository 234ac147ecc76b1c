"""Weights from a file to start from. Called by ``training.step``.

Files hold tensors and nothing else: no object in them is made, no code of theirs is run.
"""

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from pickle import UnpicklingError

import torch
from torch import nn

from edgewright.errors import StepFailed
from edgewright_schemas.model import Initialization

_SHOWN = 6
_HINT = "rename with training.initialize.map, or leave weights to begin fresh with exclude"

Tensors = Mapping[str, torch.Tensor]


def initialize(module: nn.Module, file: Path, wanted: Initialization, shown: str) -> None:
    """Give a module the weights of a file.

    Args:
        module: Changed in place.
        file: What ``wanted.uri`` names, its digest verified.
        wanted: The spec's section.
        shown: The file's name for messages.

    Raises:
        StepFailed: It cannot be read; or a weight that is not excluded is missing on either side, or of another shape:
            lists all of them.
    """
    found = _renamed(_read(file, wanted, shown), wanted, shown)
    ours = module.state_dict()
    kept = {name: tensor for name, tensor in found.items() if not _matches(name, wanted.exclude)}
    needed = [name for name in ours if not _matches(name, wanted.exclude)]
    taken = [name for name in needed if name in kept]
    if not taken:
        raise StepFailed(
            f"no name in {shown} is one of the architecture's: the file has {_listed(sorted(found))}; "
            f"the architecture has {_listed(list(ours))}",
            hint=_HINT,
        )
    problems = [f"{name} is not in the file" for name in needed if name not in kept]
    problems += [f"{name} is not in the architecture" for name in kept if name not in ours]
    problems += [
        f"{name} is {list(kept[name].shape)} and should be {list(ours[name].shape)}"
        for name in taken
        if kept[name].shape != ours[name].shape
    ]
    if problems:
        raise StepFailed(f"{shown} fits in {len(taken)} of {len(ours)} weights: {_listed(problems, '; ')}", hint=_HINT)
    bad = [name for name in taken if kept[name].is_floating_point() and not bool(torch.isfinite(kept[name]).all())]
    if bad:
        raise StepFailed(f"{shown} has values that are no finite number in {_listed(bad)}", hint="export it again")
    module.load_state_dict({name: kept[name] for name in taken}, strict=False)


def _read(file: Path, wanted: Initialization, shown: str) -> Tensors:
    if wanted.format == "safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return load_file(file)
        except (SafetensorError, OSError) as error:
            raise StepFailed(f"{shown} is no file of safetensors: {error}", hint="check format and file") from error
    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
    except (UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise StepFailed(
            f"{shown} cannot be read as weights alone: {first}",
            hint="save the weights alone: torch.save(module.state_dict(), path), or as safetensors",
        ) from error
    if not isinstance(state, Mapping) or not all(isinstance(each, torch.Tensor) for each in state.values()):
        inside = (
            f"a dict of {_listed([str(key) for key in state])}" if isinstance(state, Mapping) else type(state).__name__
        )
        raise StepFailed(
            f"{shown} holds {inside}, no dict of tensors",
            hint="save the weights alone: torch.save(module.state_dict(), path)",
        )
    return state


def _renamed(found: Tensors, wanted: Initialization, shown: str) -> Tensors:
    renamed: dict[str, torch.Tensor] = {}
    used: set[str] = set()
    for name, tensor in found.items():
        # The longest beginning is the most exact one.
        start = max((each for each in wanted.map if name.startswith(each)), key=len, default=None)
        used.update({start} if start is not None else ())
        new = wanted.map[start] + name[len(start) :] if start is not None else name
        if new in renamed:
            raise StepFailed(
                f"training.initialize.map gives two weights of {shown} the name {new}", hint="give each its own"
            )
        renamed[new] = tensor
    idle = [each for each in wanted.map if each not in used]
    if idle:
        raise StepFailed(
            f"training.initialize.map: no name in {shown} begins with {', '.join(idle)}; it has "
            f"{_listed(sorted(found))}",
            hint="write beginnings of names in the file, a dot at their end",
        )
    return renamed


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _listed(names: Sequence[str], separator: str = ", ") -> str:
    more = f"{separator}and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return separator.join(names[:_SHOWN]) + more if names else "nothing"
