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
from edgewright.pipeline.imported.pinned import fetch_pinned
from edgewright.pipeline.runner import user_code as usercode
from edgewright.pipeline.runner.tasks import StepContext
from edgewright.pipeline.training.averaging import WeightAverage
from edgewright.pipeline.training.balance import class_weights, row_weights
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
from edgewright.pipeline.training.freezing import Frozen
from edgewright.pipeline.training.initialization import initialize
from edgewright.pipeline.training.metrics import Best, check_stopping_metric
from edgewright.pipeline.training.module import Shape, built_in_parts, load_weights, make_module, shape_of
from edgewright.pipeline.training.schedules import rate_factor
from edgewright.ports import Built
from edgewright_schemas.base import is_code_reference
from edgewright_schemas.model import Initialization, ModelSpec, Training

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
        run.prepare(train, validation, fresh=checkpoint is None)
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
        self._class_weights: torch.Tensor | None = None
        self._row_weights: torch.Tensor | None = None
        self._average: WeightAverage | None = None
        self._frozen: Frozen | None = None
        self._own_loss = usercode.load(context.task.checkout, self._training.loss) if self._training.loss else None
        self._best = Best(self._training.early_stopping)
        self._history: list[dict[str, float]] = []
        self._module = make_module(spec, context.task.checkout, shape)
        self._best_model = _copy(self._module)

    def prepare(self, train: Rows, validation: Rows, *, fresh: bool) -> None:
        """Check that the module and the rows fit together; give it its statistics and its first weights."""
        if len(train) == 0:
            raise StepFailed("the dataset's train split is empty", hint="give split.train a larger share, or more rows")
        if self._training.early_stopping is not None:
            check_stopping_metric(self._training.early_stopping, self._shape.task, validation_rows=len(validation))
        self._standardize(train)
        if self._training.warm_start and "warmStart" in self._context.task.inputs:
            champion = self._context.task.inputs["warmStart"][WEIGHTS]
            load_weights(self._module, champion, what="the champion's weights (training.warmStart)")
        if fresh and self._training.initialize is not None:
            self._initialize(self._training.initialize)
        self._balance(train)
        self._check_output(train)
        self._module.to(self._device)
        self._optimizer = self._make_optimizer()
        if self._training.freeze:
            self._frozen = Frozen(self._module, self._training.freeze, self._training.unfreeze_after)
        if self._training.averaging is not None:
            self._average = WeightAverage(self._module, self._training.averaging.decay)

    def _initialize(self, wanted: Initialization) -> None:
        target = self._context.task.workdir / "initial-weights"
        shown = fetch_pinned(self._context, wanted.uri, wanted.digest, target, "training.initialize.digest")
        initialize(self._module, target, wanted, shown)
        target.unlink()

    def _balance(self, train: Rows) -> None:
        if self._training.class_weights is not None:
            facts = self._context.facts("dataset", DatasetFacts)
            classes = self._shape.task.classes(facts, self._spec.dataset) or ()
            weights = class_weights(self._training, train.labels, classes)
            self._class_weights = None if weights is None else weights.to(self._device)
        self._row_weights = row_weights(self._training, train.labels)

    def resume(self, checkpoint: Checkpoint) -> None:
        """Continue where the checkpoint was written."""
        self._module.load_state_dict(checkpoint.model)
        self._optimizer.load_state_dict(checkpoint.optimizer)
        self._best_model = checkpoint.best_model
        self._best = Best(self._training.early_stopping, checkpoint.best_epoch, checkpoint.best_value, checkpoint.stale)
        self._history = checkpoint.history
        if self._average is not None and checkpoint.averaged is not None:
            self._average.restore(checkpoint.averaged)
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
                self._best_model = _copy(self._measured)
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

    @property
    def _measured(self) -> torch.nn.Module:
        """The module that is validated and kept."""
        return self._average.module if self._average is not None else self._module

    def _epoch(self, train: Rows, epoch: int) -> float:
        """Learn from every row once; returns the mean loss of a row."""
        self._module.train()
        if self._frozen is not None:
            self._frozen.enter(epoch)
        total = 0.0
        parts = batches(len(train), self._training.batch_size, self._shuffling, self._row_weights)
        together = self._training.accumulate or 1
        groups = [parts[start : start + together] for start in range(0, len(parts), together)]
        for number, group in enumerate(groups):
            self._optimizer.zero_grad(set_to_none=True)
            for chosen in group:
                with self._user_code():
                    outputs = self._module(train.features[chosen].to(self._device))
                    loss = self._loss(outputs, train.labels[chosen].to(self._device))
                    value = loss.item()
                    self._check_finite(value, epoch, "loss")
                    torch.autograd.backward(loss / len(group) if len(group) > 1 else loss)
                total += value * len(chosen)
            self._step((epoch - 1) * len(groups) + number, len(groups))
        return total / len(train)

    def _step(self, step: int, per_epoch: int) -> None:
        """Step the optimizer; steps count from 0 over all epochs."""
        training = self._training
        if training.clip_gradients is not None:
            torch.nn.utils.clip_grad_norm_(self._module.parameters(), training.clip_gradients)
        if training.schedule is not None:
            factor = rate_factor(training.schedule, step, per_epoch, training.epochs)
            for group in self._optimizer.param_groups:
                group["lr"] = training.learning_rate * factor
        self._optimizer.step()
        if self._average is not None:
            self._average.update(self._module, step)

    def _validate(self, validation: Rows, epoch: int) -> dict[str, float]:
        module = self._measured.eval()
        with torch.no_grad(), self._user_code():
            parts = [module(part.to(self._device)).cpu() for part in torch.split(validation.features, _EVALUATION_ROWS)]
        outputs = torch.cat(parts)
        loss = self._loss(outputs, validation.labels).item()
        self._check_finite(loss, epoch, "validation loss")
        return {"valLoss": loss} | self._shape.task.validation_figures(outputs, validation.labels)

    def _loss(self, outputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        if self._own_loss is not None:
            return self._checked_loss(outputs, labels)
        weights = self._class_weights.to(outputs.device) if self._class_weights is not None else None
        return self._shape.task.loss(outputs, labels, self._loss_scale, weights)

    def _checked_loss(self, outputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Call the repository's own loss."""
        reference = self._training.loss
        assert reference is not None and self._own_loss is not None
        loss = usercode.call(self._context.task.checkout, reference, self._own_loss, outputs, labels)
        if isinstance(loss, torch.Tensor) and loss.ndim == 0 and (loss.requires_grad or not outputs.requires_grad):
            return loss
        found = f"a tensor {tuple(loss.shape)}" if isinstance(loss, torch.Tensor) else f"a {type(loss).__name__}"
        if isinstance(loss, torch.Tensor) and loss.ndim == 0:
            found = "a number that does not depend on the outputs"
        raise StepFailed(
            f"{reference} returned {found}; a loss is a scalar tensor computed from the outputs",
            hint="end it with .mean(), and compute with torch alone",
        )

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
            averaged=self._average.state() if self._average is not None else None,
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
