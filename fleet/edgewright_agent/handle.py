"""Inference for applications, always from the package that is active now.

::

    reader = ModelHandle("/var/lib/edgewright", "price-tag-reader")
    scores = reader.run(frames)              # (N, …) in, (N, …) out
    print(reader.version, reader.labels)

When the agent switches, the handle loads the new model beside the old one, then swaps; no call fails or waits for it.
A call that has begun ends with the model it began with, which is freed after its last call. Needs no agent process:
only its directory.
"""

import json
import logging
import os
import threading
import time
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgewright_agent.errors import AgentError
from edgewright_agent.runtime import DEFAULT, Array, Runtime, Session, load_runtime
from edgewright_wire.package import LABELS_FILE, MODEL_FILE
from edgewright_wire.slots import ACTIVE, MARKER_FILE, MODELS

log = logging.getLogger(__name__)

LOAD_ATTEMPTS = 10
RETRY_SECONDS = 1.0
_Identity = tuple[str, int, int]


class NotActive(AgentError):
    """No package of this model is active on the device, or it cannot be loaded."""


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """One whole version: take it once where outputs, labels and configuration have to belong together."""

    session: Session
    version: str
    """Digest of the package."""
    release: str
    """Fingerprint of package and configuration together."""
    labels: tuple[str, ...]
    """Names of the outputs' last axis: the classes, or the one thing a regression computes; empty without any."""
    config: bytes | None
    """The rendered device configuration that switched together with the model."""
    path: Path
    """The slot it was loaded from."""
    identity: _Identity

    def run(self, inputs: Array) -> Array:
        """Compute: (N, …) in, (N, …) out."""
        return self.session.run(inputs)


class ModelHandle:
    """Serves one model of a device. Thread-safe.

    Args:
        device_dir: The agent's directory.
        model: Name of the model.
        runtime: What loads models; by default, what agent.toml or installer.toml names, else onnxruntime.

    Raises:
        NotActive: Nothing is active yet, or it cannot be loaded.
    """

    def __init__(self, device_dir: str | Path, model: str, runtime: Runtime | None = None) -> None:
        self._link = Path(device_dir) / MODELS / model / ACTIVE
        self._model = model
        self._runtime = runtime if runtime is not None else _configured_runtime(Path(device_dir))
        self._reloading = threading.Lock()
        self._not_before = 0.0
        self._current = self._load()

    @property
    def current(self) -> LoadedModel:
        """The version that serves now."""
        if self._moved() and time.monotonic() >= self._not_before and self._reloading.acquire(blocking=False):
            threading.Thread(target=self._reload, name=f"load-{self._model}", daemon=True).start()
        return self._current

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the outputs' last axis."""
        return self.current.labels

    @property
    def config(self) -> bytes | None:
        """The device configuration that belongs to the model."""
        return self.current.config

    @property
    def version(self) -> str:
        """Digest of the package that serves now."""
        return self.current.version

    def run(self, inputs: Array) -> Array:
        """Compute with the version that serves now: (N, …) in, (N, …) out."""
        return self.current.run(inputs)

    def refresh(self) -> None:
        """Wait until what is active now serves.

        Raises:
            NotActive: It cannot be loaded; what served before still serves.
        """
        with self._reloading:
            if self._moved():
                self._current = self._load()

    def _moved(self) -> bool:
        try:
            return _identity(self._link) != self._current.identity
        except OSError:
            # Nothing is active now; an application that has a model loaded goes on with it.
            return False

    def _reload(self) -> None:
        """Run in a thread of its own, which holds the lock it was started with."""
        try:
            self._current = self._load()
        except NotActive as error:
            self._not_before = time.monotonic() + RETRY_SECONDS
            log.warning("still serving %s: %s", self._current.version, error.message)
        finally:
            self._reloading.release()

    def _load(self) -> LoadedModel:
        """Load what is active. A slot is refilled only after the pointer left it, so a pointer that did not move
        while loading proves that everything read belongs together.
        """
        problem: Exception | None = None
        for _ in range(LOAD_ATTEMPTS):
            try:
                before = _identity(self._link)
            except OSError as error:
                raise NotActive("NotActive", f"model {self._model}: nothing is active ({self._link})") from error
            try:
                loaded = self._read(before)
            except Exception as error:  # noqa: BLE001 - any runtime may be plugged in; told below, or tried again
                problem = error
                loaded = None
            try:
                moved = _identity(self._link) != before
            except OSError:
                moved = True
            if not moved:
                if loaded is not None:
                    return loaded
                break
        raise NotActive("LoadFailed", f"model {self._model} cannot be loaded from {self._link}: {problem}") from problem

    def _read(self, identity: _Identity) -> LoadedModel:
        slot = self._link.parent / identity[0]
        assignment: dict[str, Any] = json.loads((slot / MARKER_FILE).read_bytes())["assignment"]
        config = assignment.get("config")
        labels = slot / LABELS_FILE
        return LoadedModel(
            session=self._runtime.load(slot / MODEL_FILE),
            version=assignment["package"]["digest"],
            release=assignment["release"],
            labels=_labels(json.loads(labels.read_bytes())) if labels.exists() else (),
            config=(slot / config["path"]).read_bytes() if config else None,
            path=slot,
            identity=identity,
        )


def _identity(link: Path) -> _Identity:
    """Identify one switch of the pointer, even one to the same slot again."""
    status = link.lstat()
    return os.readlink(link), status.st_ino, status.st_mtime_ns  # noqa: PTH115 - half the cost of Path.readlink, per call


def _labels(parsed: Any) -> tuple[str, ...]:
    """Read labels.json: a list of classes, or ``{"target": name}``."""
    return tuple(str(name) for name in (parsed.values() if isinstance(parsed, dict) else parsed))


def _configured_runtime(device_dir: Path) -> Runtime:
    files = (device_dir / "agent.toml", device_dir / "installer.toml")
    settings = next((file for file in files if file.exists()), None)
    named = tomllib.loads(settings.read_text("utf-8")) if settings is not None else {}
    return load_runtime(named.get("runtime", DEFAULT), tuple(named.get("python_path", ())))
