"""Builds the torch module a Model declares, with fresh or trained weights.

``training.step`` makes one to train it; ``export.step`` loads the trained one. Both get the same module for the same
spec, checkout and dataset facts.
"""

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import nn

from edgewright.core.facts import DatasetFacts
from edgewright.errors import StepFailed
from edgewright.pipeline.runner import user_code as usercode
from edgewright.pipeline.tasks.protocol import Task, outputs_of
from edgewright.pipeline.tasks.registry import task_of
from edgewright.pipeline.training.architectures import Mlp, ScaledOutput, build_architecture
from edgewright_schemas.base import is_code_reference
from edgewright_schemas.model import ModelSpec

_SHOWN = 6
"""Differences between two sets of weights that a message lists."""


@dataclass(frozen=True, slots=True)
class Shape:
    """Shape of a model's input and output, without the batch."""

    inputs: tuple[int, ...]
    """(C, H, W) for images, (F,) for tabular features."""
    outputs: int
    """Classes, or 1 for regression."""
    task: Task


def shape_of(spec: ModelSpec, dataset_facts: DatasetFacts) -> Shape:
    """Read a model's shape from its task and the facts of its dataset.

    Raises:
        StepFailed: The dataset's label does not fit the task.
    """
    task = task_of(spec.task).configured(spec, dataset_facts)
    return Shape(dataset_facts.input_shape, outputs_of(task, dataset_facts, spec.dataset), task)


def make_module(spec: ModelSpec, checkout: Path, shape: Shape) -> nn.Module:
    """Make the declared architecture with fresh weights, in training mode.

    A built-in is drawn from torch's global generator. The repository's own class is called with the spec's ``with``
    and, where its signature names them, ``input_shape`` and ``outputs``; it is used exactly as it is: nothing scales
    what goes into it or comes out of it.

    Raises:
        StepFailed: No such architecture, or arguments it does not accept.
        UserCodeFailed: The repository's class raised.
    """
    use = spec.architecture
    if use is None:
        raise StepFailed("this model declares no architecture", hint="only a model with an architecture is trained")
    if not is_code_reference(use.use):
        body = build_architecture(use.use, use.with_, input_shape=shape.inputs, outputs=shape.outputs)
        return shape.task.complete(body)
    class_ = usercode.load(checkout, use.use)
    arguments = _arguments(use.use, class_, use.with_, shape)
    module = usercode.call(checkout, use.use, class_, **arguments)
    if not isinstance(module, nn.Module):
        raise StepFailed(
            f"{use.use} made an object of type {type(module).__name__}, which is no torch.nn.Module",
            hint="name a class that derives from torch.nn.Module",
        )
    if any(isinstance(p, nn.UninitializedParameter) for p in module.parameters()):
        # Lazy layers take their size from the first batch; in evaluation mode, so that it leaves no other trace.
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            usercode.call(checkout, use.use, module.eval(), torch.zeros((2, *shape.inputs)))
    return module.train()


def built_in_parts(module: nn.Module) -> tuple[Mlp | None, ScaledOutput | None]:
    """Find the parts of a built-in that hold statistics of the training data; the repository's classes have none."""
    scaled = module if isinstance(module, ScaledOutput) else None
    body = scaled.body if scaled is not None else module
    return (body if isinstance(body, Mlp) else None), scaled


def load_trained(task_spec: Mapping[str, Any], checkout: Path, weights: Path, dataset_facts: DatasetFacts) -> nn.Module:
    """Load a trained model on the CPU, in evaluation mode.

    Args:
        task_spec: The Model's spec as its kind dumps it (by alias).
        checkout: The folder with the repository's code.
        weights: ``weights.pt`` of the train step.
        dataset_facts: Facts of the dataset it was trained on.

    Raises:
        StepFailed: The spec does not make a module these weights fit.
        UserCodeFailed: The repository's class raised.
    """
    spec = ModelSpec.model_validate(task_spec)
    with torch.random.fork_rng(devices=[]):
        module = make_module(spec, checkout, shape_of(spec, dataset_facts))
    load_weights(module, weights, what="the trained weights")
    return module.eval()


def load_weights(module: nn.Module, weights: Path, *, what: str) -> None:
    """Load a state dict into a module; every name and shape must match.

    Raises:
        StepFailed: They do not, or the file holds no state dict; says what differs.
    """
    try:
        state = torch.load(weights, map_location="cpu", weights_only=True)
    except (UnpicklingError, RuntimeError, EOFError) as error:
        raise StepFailed(f"{what} cannot be read: {error}", hint=f"{weights} is no file torch.save wrote") from error
    differences = _differences(module.state_dict(), state)
    if differences:
        shown = "; ".join(differences[:_SHOWN])
        more = f"; and {len(differences) - _SHOWN} more" if len(differences) > _SHOWN else ""
        raise StepFailed(
            f"{what} do not fit the architecture: {shown}{more}",
            hint="give the architecture the arguments the weights were trained with, or set training.warmStart: false",
        )
    module.load_state_dict(state, strict=True)


def _differences(ours: Mapping[str, torch.Tensor], theirs: Mapping[str, torch.Tensor]) -> list[str]:
    found = [f"{name} is missing" for name in ours if name not in theirs]
    found += [f"{name} is not in the architecture" for name in theirs if name not in ours]
    found += [
        f"{name} is {list(theirs[name].shape)} and should be {list(value.shape)}"
        for name, value in ours.items()
        if name in theirs and theirs[name].shape != value.shape
    ]
    return found


def _arguments(reference: str, class_: Any, given: Mapping[str, Any], shape: Shape) -> dict[str, Any]:
    """Complete the spec's arguments with the shape, and check them against the class's signature."""
    if not callable(class_):
        raise StepFailed(f"{reference} is no class", hint="name a class that derives from torch.nn.Module")
    parameters = inspect.signature(class_).parameters
    offered: dict[str, Any] = {"input_shape": shape.inputs, "outputs": shape.outputs}
    arguments = {name: value for name, value in offered.items() if name in parameters} | dict(given)
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    named = [p for p in parameters.values() if p.kind in {p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY}]
    problems = _unknown(arguments, [p.name for p in named], takes_any=takes_any)
    problems += [f"missing argument {p.name}" for p in named if p.default is p.empty and p.name not in arguments]
    if problems:
        known = ", ".join(p.name for p in named) or "no arguments"
        raise StepFailed(f"architecture {reference}: {'; '.join(problems)}", hint=f"it accepts {known}")
    return arguments


def _unknown(arguments: Mapping[str, Any], known: Sequence[str], *, takes_any: bool) -> list[str]:
    return [] if takes_any else [f"unknown argument {name}" for name in arguments if name not in known]
