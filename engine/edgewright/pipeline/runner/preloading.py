"""Modules that the fork server imports for a build step: before it forks a worker, and while it has nothing else to do.

Named by the parent in each request; the server itself knows no step. Not here: onnxruntime 1.32, whose import starts a
thread which a forked process waits for in vain.
"""

from collections.abc import Iterable, Mapping

from edgewright.core.artifact import Action
from edgewright.pipeline.runner.tasks import StagedTask

_ARRAYS = "edgewright.pipeline.dataset.files"
MODULES: Mapping[Action, tuple[str, ...]] = {
    Action.BUILD_DATASET: ("edgewright.pipeline.dataset.step", "pyarrow.parquet"),
    Action.TRAIN: ("torch", "edgewright.pipeline.training.step", "torch._dynamo"),
    Action.EXPORT: (
        _ARRAYS,
        "torch",
        "torch._dynamo",
        "torch.export._trace",
        "torch.onnx._internal.exporter._compat",
        "onnx.reference",
        "onnxscript.function_libs.torch_lib.ops",
        "edgewright.pipeline.export.operators",
        "torch._inductor.sizevars",
        "torch._subclasses.schema_check_mode",
        "sympy.tensor.tensor",
        "torch.fx.experimental.validator",
    ),
    Action.EVALUATE: (_ARRAYS, "pyarrow.compute", "torch", "edgewright.pipeline.evaluation.torch_metrics"),
    Action.PACKAGE: (_ARRAYS, "edgewright.pipeline.packaging.card"),
}
_EXPORT_UNTRAINED = (_ARRAYS, "onnx")
"""Of models that are no torch modules: they need no exporter."""
_FOLLOWING: Mapping[Action, tuple[Action, ...]] = {
    Action.TRAIN: (Action.EXPORT, Action.EVALUATE, Action.PACKAGE),
    Action.IMPORT: (Action.EXPORT, Action.EVALUATE, Action.PACKAGE),
    Action.COMMAND: (Action.EXPORT, Action.EVALUATE, Action.PACKAGE),
    Action.EXPORT: (Action.EVALUATE, Action.PACKAGE),
    Action.EVALUATE: (Action.PACKAGE,),
}
"""Steps of the same model that come after one."""


def needed_by(task: StagedTask) -> list[str]:
    """List the modules that a step imports."""
    return _modules([task.action], task)


def needed_after(task: StagedTask) -> list[str]:
    """List the modules that the steps after one import, in the order they come in."""
    return _modules(task.then or _FOLLOWING.get(task.action, ()), task)


def _modules(actions: Iterable[Action], task: StagedTask) -> list[str]:
    found: dict[str, None] = {}
    for action in actions:
        untrained = action is Action.EXPORT and not task.spec.get("architecture")
        found |= dict.fromkeys(_EXPORT_UNTRAINED if untrained else MODULES.get(action, ()))
    return list(found)
