"""The train step: a torch module learns from a dataset. The worker calls ``build``.

Training twice on one machine and library set gives equal weights; so does a training that was killed and resumed.
Files and facts are in docs/reference/artifacts.md.
"""

import json
import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from hashlib import sha256
from typing import Any

import torch

from edgewright.core.facts import DatasetFacts, TrainingFacts
from edgewright.errors import StepFailed
from edgewright.pipeline.runner import user_code as usercode
from edgewright.pipeline.runner.tasks import StepContext
from edgewright.pipeline.training.checkpoint import (
    Checkpoint,
    load_checkpoint,
    random_states,
    restore_random_states,
    save_checkpoint,
)
from edgewright.pipeline.training.data import Rows, batches, load_rows
from edgewright.pipeline.training.determinism import (
    choose_device,
    choose_threads,
    environment,
    reproducible,
    torch_seed,
)
from edgewright.pipeline.training.metrics import Best, check_stopping_metric
from edgewright.pipeline.training.module import Shape, built_in_parts, load_weights, make_module, shape_of
from edgewright.ports import Built
from edgewright_schemas.base import is_code_reference
from edgewright_schemas.model import ModelSpec, Training

WEIGHTS = "weights.pt"
HISTORY = "history.json"
_SGD_MOMENTUM = 0.9
_EVALUATION_ROWS = 512


def build(context: StepContext) -> Built[TrainingFacts]:
    """Train the model of the task, from its checkpoint where there is one.

    Raises:
        StepFailed: The architecture, the dataset and the training section do not fit together, or the loss is no
            longer a number.
        UserCodeFailed: The repository's class raised.
    """
    task = context.task
    spec = ModelSpec.model_validate(task.spec)
    facts = context.facts("dataset", DatasetFacts)
    shape = shape_of(spec, facts)
    device = choose_device(os.environ)
    checkpoint = load_checkpoint(context.checkpoint, fingerprint=task.fingerprint, device=str(device))
    threads = checkpoint.threads if checkpoint is not None else choose_threads(task.params)
    with reproducible(spec.training_or_default.seed, threads, device):
        train = load_rows(task.inputs["dataset"], facts, "train", shape)
        validation = load_rows(task.inputs["dataset"], facts, "validation", shape)
        run = _Run(context, spec, shape, device, threads)
        run.prepare(train, validation)
        if checkpoint is not None:
            run.resume(checkpoint)
        run.train(train, validation)
        return run.finish()


def weights_digest(state: Mapping[str, torch.Tensor]) -> str:
    """Digest what tensors mean: sha256 over the name, dtype, shape and bytes of each, in order of name."""
    whole = sha256()
    for name, tensor in sorted(state.items()):
        data = tensor.detach().cpu().contiguous().reshape(-1)
        header = json.dumps([name, str(tensor.dtype), list(tensor.shape)]).encode()
        whole.update(len(header).to_bytes(8, "big") + header)
        whole.update(data.view(torch.uint8).numpy().tobytes())
    return f"sha256:{whole.hexdigest()}"


class _Run:
    """One training: the module, its optimizer, and what is known after each epoch."""

    def __init__(self, context: StepContext, spec: ModelSpec, shape: Shape, device: torch.device, threads: int) -> None:
        self._context = context
        self._spec = spec
        self._training: Training = spec.training_or_default
        self._shape = shape
        self._device = device
        self._threads = threads
        self._shuffling = torch.Generator().manual_seed(torch_seed(self._training.seed))
        self._loss_scale = 1.0
        self._best = Best(self._training.early_stopping)
        self._history: list[dict[str, float]] = []
        self._module = make_module(spec, context.task.checkout, shape)
        self._best_model = _copy(self._module)

    def prepare(self, train: Rows, validation: Rows) -> None:
        """Check that the module and the rows fit together; give it its statistics and its first weights."""
        if len(train) == 0:
            raise StepFailed("the dataset's train split is empty", hint="give split.train a larger share, or more rows")
        if self._training.early_stopping is not None:
            check_stopping_metric(self._training.early_stopping, self._shape.task, validation_rows=len(validation))
        self._standardize(train)
        if self._training.warm_start and "warmStart" in self._context.task.inputs:
            champion = self._context.task.inputs["warmStart"][WEIGHTS]
            load_weights(self._module, champion, what="the champion's weights (training.warmStart)")
        self._check_output(train)
        self._module.to(self._device)
        self._optimizer = self._make_optimizer()

    def resume(self, checkpoint: Checkpoint) -> None:
        """Continue where the checkpoint was written."""
        self._module.load_state_dict(checkpoint.model)
        self._optimizer.load_state_dict(checkpoint.optimizer)
        self._best_model = checkpoint.best_model
        self._best = Best(self._training.early_stopping, checkpoint.best_epoch, checkpoint.best_value, checkpoint.stale)
        self._history = checkpoint.history
        restore_random_states(checkpoint.random, self._shuffling)

    def train(self, train: Rows, validation: Rows) -> None:
        """Run the epochs that are left, writing a checkpoint after each."""
        total = self._training.epochs
        while len(self._history) < total and not self._best.exhausted:
            epoch = len(self._history) + 1
            figures = {"loss": self._epoch(train, epoch)}
            if len(validation):
                figures |= self._validate(validation, epoch)
            self._history.append({"epoch": epoch} | figures)
            if self._best.offer(epoch, figures):
                self._best_model = _copy(self._module)
            self._save(epoch)
            self._context.progress(epoch, total, "epoch", figures)

    def finish(self) -> Built[TrainingFacts]:
        """Write the best epoch's weights and the history."""
        out = self._context.out
        torch.save(self._best_model, out / WEIGHTS)
        (out / HISTORY).write_text(json.dumps({"epochs": self._history}, indent=1, allow_nan=False))
        best = self._history[self._best.epoch - 1]
        metrics = {"loss" if name == "valLoss" else name: best[name] for name in best if name not in {"epoch", "loss"}}
        assert self._spec.architecture is not None
        return Built(
            digest=weights_digest(self._best_model),
            files={WEIGHTS: out / WEIGHTS, HISTORY: out / HISTORY},
            facts=TrainingFacts(
                epochs=len(self._history),
                best_epoch=self._best.epoch,
                metrics=metrics,
                parameters=sum(p.numel() for p in self._module.parameters()),
                architecture=self._spec.architecture.use,
            ),
            environment=environment(self._device, self._threads),
        )

    def _standardize(self, train: Rows) -> None:
        mlp, scaled = built_in_parts(self._module)
        if mlp is not None:
            features = train.features.double()
            mlp.standardize(features.mean(dim=0).float(), features.std(dim=0, correction=0).float())
        self._loss_scale = self._shape.task.loss_scale(train.labels)
        if scaled is not None:
            targets = train.labels.double()
            scaled.standardize(float(targets.mean()), float(targets.std(correction=0)))

    def _check_output(self, train: Rows) -> None:
        """Run the module once; it must make one row of outputs for each row."""
        rows = train.features[:2]
        with torch.random.fork_rng(devices=[]), torch.no_grad(), self._user_code():
            output = self._module.eval()(rows)
        expected = (len(rows), *self._shape.task.output_shape(self._shape.outputs))
        found = tuple(output.shape) if isinstance(output, torch.Tensor) else f"a {type(output).__name__}"
        if not isinstance(found, tuple) or not _fits(found, expected):
            assert self._spec.architecture is not None
            wanted = f"({', '.join('any' if size is None else str(size) for size in expected)})"
            raise StepFailed(
                f"{self._spec.architecture.use} made {found} from {len(rows)} rows; it must make a tensor {wanted}",
                hint=self._shape.task.output_hint,
            )

    def _make_optimizer(self) -> torch.optim.Optimizer:
        learned = [p for p in self._module.parameters() if p.requires_grad]
        if not learned:
            raise StepFailed("the architecture has no parameters to learn", hint="register layers as attributes")
        rate, decay = self._training.learning_rate, self._training.weight_decay
        match self._training.optimizer:
            case "adam":
                return torch.optim.Adam(learned, lr=rate, weight_decay=decay)
            case "adamw":
                return torch.optim.AdamW(learned, lr=rate, weight_decay=decay)
            case "sgd":
                return torch.optim.SGD(learned, lr=rate, weight_decay=decay, momentum=_SGD_MOMENTUM)

    def _epoch(self, train: Rows, epoch: int) -> float:
        """Learn from every row once; returns the mean loss of a row."""
        self._module.train()
        total = 0.0
        for chosen in batches(len(train), self._training.batch_size, self._shuffling):
            self._optimizer.zero_grad(set_to_none=True)
            with self._user_code():
                outputs = self._module(train.features[chosen].to(self._device))
                loss = self._loss(outputs, train.labels[chosen].to(self._device))
                value = loss.item()
                self._check_finite(value, epoch, "loss")
                torch.autograd.backward(loss)
            self._optimizer.step()
            total += value * len(chosen)
        return total / len(train)

    def _validate(self, validation: Rows, epoch: int) -> dict[str, float]:
        self._module.eval()
        with torch.no_grad(), self._user_code():
            parts = [
                self._module(part.to(self._device)).cpu() for part in torch.split(validation.features, _EVALUATION_ROWS)
            ]
        outputs = torch.cat(parts)
        loss = self._loss(outputs, validation.labels).item()
        self._check_finite(loss, epoch, "validation loss")
        return {"valLoss": loss} | self._shape.task.validation_figures(outputs, validation.labels)

    def _loss(self, outputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return self._shape.task.loss(outputs, labels, self._loss_scale)

    def _check_finite(self, value: float, epoch: int, what: str) -> None:
        if math.isfinite(value):
            return
        rate = self._training.learning_rate
        raise StepFailed(
            f"the {what} became {value} in epoch {epoch} of {self._training.epochs}, at learning rate {rate:g}",
            hint=f"lower training.learningRate, for example to {rate / 10:g}; if it stays so, look for extreme values "
            "in the dataset's features or for log, sqrt or division in your own module",
        )

    def _save(self, epoch: int) -> None:
        state = Checkpoint(
            fingerprint=self._context.task.fingerprint,
            device=str(self._device),
            threads=self._threads,
            epoch=epoch,
            model=self._module.state_dict(),
            optimizer=self._optimizer.state_dict(),
            random=random_states(self._shuffling, self._device),
            best_model=self._best_model,
            best_epoch=self._best.epoch,
            best_value=self._best.value,
            stale=self._best.stale,
            history=self._history,
        )
        save_checkpoint(self._context.checkpoint, state)

    @contextmanager
    def _user_code(self) -> Iterator[None]:
        """Name the repository's class in what it raises; a built-in raises as it is."""
        use = self._spec.architecture
        assert use is not None
        checkout = self._context.task.checkout
        with usercode.user_errors(checkout, use.use) if is_code_reference(use.use) else nullcontext():
            try:
                yield
            except torch.OutOfMemoryError as error:
                raise StepFailed(
                    f"training ran out of GPU memory: {error}",
                    hint="lower training.batchSize, or train with EDGEWRIGHT_DEVICE=cpu",
                ) from error


def _fits(found: tuple[int, ...], expected: tuple[int | None, ...]) -> bool:
    """Return whether a shape is the one expected, where None stands for any size."""
    return len(found) == len(expected) and all(
        size is None or size == made for size, made in zip(expected, found, strict=True)
    )


def _copy(module: torch.nn.Module) -> dict[str, Any]:
    return {name: value.detach().to("cpu", copy=True).contiguous() for name, value in module.state_dict().items()}
