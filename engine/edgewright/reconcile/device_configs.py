"""Device configurations: what a release's are rendered from is kept, so that any release can return to any device."""

import json
from collections.abc import Mapping
from dataclasses import dataclass

from edgewright.core.address import Address
from edgewright.core.artifact import Action, Artifact
from edgewright.core.facts import OtherFacts
from edgewright.core.snapshot import Snapshot
from edgewright.errors import StepFailed
from edgewright.ports import BlobStore, ConfigRenderer, ConfigRequest, SnapshotSource
from edgewright.reconcile.run import RunContext
from edgewright_schemas.fleet import Fleet
from edgewright_wire.canonical import canonical_json, digest_bytes
from edgewright_wire.messages import ConfigFile

_FILE = "config.json"


@dataclass(frozen=True, slots=True)
class Configurator:
    """Renders device configurations, and stores what each release's are rendered from."""

    context: RunContext
    source: SnapshotSource
    blobs: BlobStore
    renderer: ConfigRenderer

    def keep(self, desired: Snapshot, fleet: Fleet, config: str) -> None:
        """Store what a release's configuration is rendered from, under the release's config digest.

        Raises:
            SourceError: The template is not in the repository.
        """
        spec = fleet.spec.config
        if spec is None or self._kept(config) is not None:
            return
        template = self.source.read(desired.revision, spec.template).decode("utf-8")
        frame = {"template": template, "templateName": spec.template, "path": spec.path, "values": dict(spec.values)}
        file = self.blobs.put_bytes(canonical_json(frame))
        self.context.writer.record_artifact(
            Artifact(
                fingerprint=config,
                action=Action.RENDER_CONFIG,
                address=Address("fleet", fleet.metadata.name),
                digest=config,
                files={_FILE: file},
                facts=OtherFacts(),
                created_at=self.context.clock(),
            )
        )

    def _kept(self, config: str) -> Artifact | None:
        artifact = self.context.reader.artifacts([config]).get(config)
        return artifact if artifact and self.blobs.has(artifact.files[_FILE].digest) else None

    def render(
        self, config: str, fleet: str, model: str, devices: Mapping[str, Mapping[str, str]]
    ) -> dict[str, ConfigFile]:
        """Render and store one release's configuration for these devices.

        Raises:
            StepFailed: The template cannot be rendered, or what it was kept under is gone.
        """
        artifact = self._kept(config)
        if artifact is None:
            raise StepFailed(
                f"configuration {config} of fleet/{fleet} was not kept", hint="change the spec to renew it"
            )
        frame = json.loads(self.blobs.read(artifact.files[_FILE].digest))
        stored: dict[str, ConfigFile] = {}
        known: set[str] = set()
        for device, labels in devices.items():
            request = ConfigRequest(
                template=frame["template"],
                template_name=frame["templateName"],
                values=frame["values"],
                device=device,
                labels=labels,
                model=model,
                fleet=fleet,
            )
            data = self.renderer.render(request)
            digest = digest_bytes(data)
            if digest not in known and not self.blobs.has(digest):
                self.blobs.put_bytes(data)
            known.add(digest)
            stored[device] = ConfigFile(digest=digest, size=len(data), path=frame["path"])
        return stored
