"""Golden plan cases: YAML to desired and observed state, plans to data with names in place of digests.

The format is described in tests/golden/README.md.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.scalarstring import LiteralScalarString

from edgewright.cli.render.plan_text import plan_text
from edgewright.core.address import Address, parse_address
from edgewright.core.artifact import Action
from edgewright.core.config_drift import ConfigDrift, DriftSubject, Remedy
from edgewright.core.planning.observed import Observed, SourceState
from edgewright.core.planning.plan import BuildStep, Plan, Step, action_of, step_id
from edgewright.core.planning.planner import plan, rollout_targets
from edgewright.core.rollout.state import Controls, DeviceState, Phase, Rejection, RolloutSummary
from edgewright.core.snapshot import Snapshot
from edgewright.errors import SpecError
from edgewright.render.plan_json import plan_json
from edgewright.render.plan_markdown import plan_markdown
from edgewright_wire.canonical import digest_json
from fakes.source import snapshot_of
from harness.applied import GOOD, Figures, Outputs, apply, build, standing

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
_ORDER = [Action.BUILD_DATASET, Action.TRAIN, Action.IMPORT, Action.COMMAND, Action.EXPORT, Action.EVALUATE]
_NOUNS = {
    Action.BUILD_DATASET: "data",
    Action.TRAIN: "weights",
    Action.IMPORT: "model",
    Action.COMMAND: "model",
    Action.EXPORT: "export",
    Action.EVALUATE: "evidence",
    Action.PACKAGE: "package",
}
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}|git:[0-9a-f]{40}|\b[0-9a-f]{12}\b")

Files = dict[str, str]


def read_yaml(text: str) -> Any:
    """Read YAML into plain values."""
    return YAML(typ="safe").load(text)


def write_yaml(value: Any) -> str:
    """Write plain values: innermost collections on one line, text of several lines as it is."""
    yaml = YAML()
    yaml.default_flow_style = None
    yaml.width = 118
    yaml.indent(mapping=2, sequence=4, offset=2)
    stream = StringIO()
    yaml.dump(_literal(value), stream)
    return "".join(f"{line.rstrip()}\n" for line in stream.getvalue().splitlines())


def _literal(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _literal(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_literal(inner) for inner in value]
    return LiteralScalarString(value) if isinstance(value, str) and "\n" in value else value


# ── desired ───────────────────────────────────────────────────────────────────────────────────────────────────


def edited(files: Files, edits: Iterable[Mapping[str, Any]]) -> Files:
    """Apply a case's edits to a repository's files."""
    files = dict(files)
    for edit in edits:
        if "file" in edit:
            files.pop(edit["file"], None)
            if edit["text"] is not None:
                files[edit["file"]] = edit["text"]
        elif "add" in edit:
            document = {"apiVersion": "edgewright.dev/v1alpha1", **edit["add"]}
            name = f"{document['kind'].lower()}-{document['metadata']['name']}"
            files[f"specs/{name}.yaml"] = write_yaml(document)
        elif "delete" in edit:
            del files[_place(files, edit["delete"])]
        else:
            _edit(files, edit)
    return files


def _place(files: Files, address: str) -> str:
    kind, name = parse_address(address)
    for path, text in files.items():
        if path.endswith(".yaml"):
            document = read_yaml(text)
            if (document["kind"].lower(), document["metadata"]["name"]) == (kind, name):
                return path
    raise KeyError(address)


def _edit(files: Files, edit: Mapping[str, Any]) -> None:
    path = _place(files, edit["in"])
    document = read_yaml(files[path])
    for field, value in edit.get("set", {}).items():
        holder, key = _holder(document, field)
        holder[key] = value
    for field in edit.get("unset", ()):
        holder, key = _holder(document, field)
        del holder[key]
    files[path] = write_yaml(document)


def _holder(document: Any, field: str) -> tuple[Any, Any]:
    *parents, last = [int(part) if part.isdigit() else part for part in field.split("/")]
    for part in parents:
        document = document[part] if isinstance(part, int) else document.setdefault(part, {})
    return document, last


# ── cases ─────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass
class Case:
    """One case, read."""

    path: Path
    body: dict[str, Any]

    @property
    def now(self) -> datetime:
        """The time the plan is computed at."""
        given = self.body.get("now")
        return datetime.fromisoformat(given) if given else NOW

    def compute(self) -> dict[str, Any]:
        """Load, plan and describe what comes out, as ``expected`` has it."""
        repository = self.path.parents[1] / "repositories" / f"{self.body['repository']}.yaml"
        files: Files = read_yaml(repository.read_text())
        names = Names()
        observed = Observed()
        base: Snapshot | None = None
        if "base" in self.body:
            files = edited(files, self.body["base"])
            base = snapshot_of(files, "base")
            observed = apply(base, observed, NOW - timedelta(hours=1), _outputs(self.body.get("applied", {})))
            names.learn(base, observed)
        head = snapshot_of({} if self.body.get("head") == "nothing" else self._head(files), "head")
        observed = self._observe(base, head, observed)
        names.learn(head, observed)
        try:
            found = plan(head, observed, self.now)
        except SpecError as error:
            return {"problems": [str(problem) for problem in error.problems]}
        return self._describe(found, names)

    def _head(self, files: Files) -> Files:
        return edited(files, self.body.get("head") or ())

    def _describe(self, found: Plan, names: "Names") -> dict[str, Any]:
        whole = names.put_in(plan_json(found))
        steps = [_short(step, action_of(planned)) for step, planned in zip(whole["steps"], found.steps, strict=True)]
        summary = {name: value for name, value in whole["summary"].items() if value != 0}
        notes = [
            {**{key: note[key] for key in ("address", "severity", "reason", "message")}} for note in whole["notes"]
        ]
        expected: dict[str, Any] = {"steps": steps, "notes": notes, "summary": summary}
        verdicts = {
            address: [f"{_MARKS[gate['passed']]} {gate['gate']}: {_figure(gate)}" for gate in gates]
            for address, gates in whole["verdicts"].items()
            if gates
        }
        if verdicts:
            expected["verdicts"] = verdicts
        if "text" in self.body.get("render", ()):
            lines = "\n".join(line.plain.rstrip() for line in plan_text(found))
            expected["text"] = names.put_in(lines) + "\n"
        if "markdown" in self.body.get("render", ()):
            lines = "\n".join(line.rstrip() for line in plan_markdown(found).splitlines())
            expected["markdown"] = names.put_in(lines).replace(found.plan_id, "<plan>") + "\n"
        return expected

    # ── observed ──────────────────────────────────────────────────────────────────────────────────────────────

    def _observe(self, base: Snapshot | None, head: Snapshot, observed: Observed) -> Observed:
        tweaks = dict(self.body.get("observed", {}))
        sources = {uri: SourceState(**state) for uri, state in tweaks.pop("sources", {}).items()}
        enrolled = tweaks.pop("enrolled", {})
        observed = replace(
            observed, sources=sources, enrolled=enrolled, enrolled_digest=digest_json(enrolled) if enrolled else ""
        )
        outputs = _outputs(tweaks)
        built = tweaks.pop("built", None)
        if built is not None:
            observed = build(head, observed, NOW, outputs, lambda step: _covered(step, built))
        if lost := tweaks.pop("lost", []):
            left = {f: a for f, a in observed.artifacts.items() if f"{a.action} {a.address}" not in lost}
            observed = replace(observed, artifacts=left, remembered=observed.artifacts)
        if failures := tweaks.pop("failures", {}):
            observed = replace(observed, failures=_failures(head, observed, failures))
        if "published" in tweaks:
            everything = frozenset(artifact.digest for artifact in observed.artifacts.values())
            out = {"nothing": frozenset[str](), "everything": everything}[tweaks.pop("published")]
            observed = replace(observed, published=out)
        if "drift" in tweaks:
            observed = replace(observed, drift=tuple(drift for each in tweaks.pop("drift") for drift in _drift(each)))
        if damaged := tweaks.pop("damaged", []):
            digests = {str(a.address): a.digest for a in observed.artifacts.values() if a.action is Action.PACKAGE}
            lost = {digests[address]: "blobs/sha256/ab missing or of another size" for address in damaged}
            observed = replace(observed, damaged=lost, published=observed.published - lost.keys())
        if "champions" in tweaks:
            assert tweaks.pop("champions") == "none"
            observed = replace(observed, champions={})
        if managed := tweaks.pop("managed", {}):
            known = {parse_address(address): how for address, how in managed.items()}
            disabled = frozenset(address for address, how in known.items() if how == "prune disabled")
            observed = replace(
                observed,
                inventory=observed.inventory | known.keys(),
                prune_disabled=observed.prune_disabled | disabled,
            )
        if durations := tweaks.pop("durations", {}):
            took = {_step_key(step): timedelta(seconds=seconds) for step, seconds in durations.items()}
            observed = replace(observed, durations=took)
        if environment := tweaks.pop("environment", {}):
            observed = replace(observed, environment=environment)
        for name, tweak in tweaks.pop("rollouts", {}).items():
            address = Address("rollout", name)
            summary = self._rollout(address, tweak, base, head, observed)
            observed = replace(observed, rollouts={**observed.rollouts, address: summary})
        for key in ("figures", "same"):
            tweaks.pop(key, None)
        assert not tweaks, f"{self.path}: unknown tweaks {sorted(tweaks)}"
        return observed

    def _rollout(
        self, address: Address, tweak: Mapping[str, Any], base: Snapshot | None, head: Snapshot, observed: Observed
    ) -> RolloutSummary:
        fields = dict(tweak)
        which = base if fields.pop("of", "head") == "base" and base else head
        target = rollout_targets(which, observed, self.now)[address]
        phase = Phase(fields.pop("phase"))
        if "requested" in fields:
            fields["requested"] = Controls(**fields["requested"])
        fields["counts"] = {DeviceState(name): count for name, count in fields.get("counts", {}).items()}
        if "rejected" in fields:
            given = fields.pop("rejected")
            release = target.release
            assert release is not None and target.key is not None
            fields["rejected"] = (
                Rejection(
                    target.key,
                    release.fingerprint,
                    release.package,
                    NOW,
                    given["reason"],
                    given["device"],
                ),
            )
        return standing(target, phase, **fields)


_MARKS = {True: "passed", False: "failed", None: "inconclusive"}


def _figure(gate: Mapping[str, Any]) -> str:
    value = "no evidence" if gate["value"] is None else f"{gate['value']:g}"
    return f"{value} ({gate['detail']})" if gate["detail"] else value


def _drift(given: Mapping[str, Any]) -> list[ConfigDrift]:
    fields = dict(given)
    names = [fields["name"].format(n) for n in range(1, fields.pop("times", 1) + 1)]
    fields |= {"subject": DriftSubject(fields["subject"]), "address": parse_address(fields["address"])}
    fields |= {"remedy": Remedy(fields["remedy"])}
    if "wait" in fields:
        fields["not_before"] = NOW + timedelta(minutes=fields.pop("wait"))
    return [ConfigDrift(**{**fields, "name": name}) for name in names]


def _short(step: Mapping[str, Any], action: Action) -> dict[str, Any]:
    """Keep what a reviewer reads: nothing that is empty, no fingerprint."""
    left_out = {"id", "fingerprint", "release"}
    if action is Action.EVALUATE and step.get("subject") == "candidate":
        left_out.add("subject")
    return {k: v for k, v in step.items() if k not in left_out and v not in ([], "", None, False)}


def _step_key(text: str) -> tuple[Action, str]:
    action, _, address = text.partition(" ")
    return Action(action), address


def _covered(step: Step, built: Any) -> bool:
    if isinstance(built, list):
        return step_id(step) in built
    if built == "all":
        return True
    last = _ORDER.index(Action(built))
    action = action_of(step)
    return action in _ORDER and _ORDER.index(action) <= last


def _outputs(tweaks: Mapping[str, Any]) -> Outputs:
    figures: dict[str, dict[str, Figures | None]] = {}
    for model, variants in tweaks.get("figures", {}).items():
        figures[model] = {name: _figures(given) for name, given in variants.items()}
    return Outputs(figures, dict.fromkeys(tweaks.get("same", ()), "the same"))


def _figures(given: Mapping[str, Any] | None) -> Figures | None:
    if given is None:
        return None
    overall = {**GOOD["overall"], **{k: v for k, v in given.items() if "=" not in k}}
    slices = {**GOOD["slices"], **{k: {"accuracy": v} for k, v in given.items() if "=" in k}}
    return {"overall": {k: v for k, v in overall.items() if v is not None}, "slices": slices}


def _failures(head: Snapshot, observed: Observed, failures: Mapping[str, str]) -> dict[str, str]:
    steps = {step_id(step): step for step in plan(head, observed, NOW).steps if isinstance(step, BuildStep)}
    return {str(steps[step].fingerprint): message for step, message in failures.items()}


# ── names for digests ─────────────────────────────────────────────────────────────────────────────────────────


class Names:
    """Stable names in place of digests: ``<data of tags>``, and for the next such ``<data of tags 2>``."""

    def __init__(self) -> None:
        self._by_digest: dict[str, str] = {}
        self._taken: dict[str, int] = {}

    def learn(self, desired: Snapshot, observed: Observed) -> None:
        """Name everything a plan for this state may mention."""
        for path, digest in sorted({**desired.content, **desired.code}.items()):
            self._add(digest, path)
        for artifact in sorted(observed.artifacts.values(), key=lambda a: (str(a.created_at), a.fingerprint)):
            self._add(artifact.digest, f"{_NOUNS[artifact.action]} of {artifact.address.name}")
        for address, target in rollout_targets(desired, observed, NOW).items():
            if target.release is not None:
                self._add(target.release.fingerprint, f"release of {address.name}")
                if target.release.config is not None:
                    self._add(target.release.config, f"config of {target.fleet.metadata.name}")

    def put_in(self, value: Any) -> Any:
        """Replace the digests in JSON values, short ones too."""
        if isinstance(value, dict):
            return {self.put_in(key): self.put_in(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [self.put_in(inner) for inner in value]
        return _DIGEST.sub(self._name, value) if isinstance(value, str) else value

    def _add(self, digest: str, label: str) -> None:
        if digest in self._by_digest:
            return
        self._taken[label] = self._taken.get(label, 0) + 1
        number = f" {self._taken[label]}" if self._taken[label] > 1 else ""
        self._by_digest[digest] = f"<{label}{number}>"
        self._by_digest[digest.partition(":")[2][:12]] = f"<{label}{number}>"

    def _name(self, found: re.Match[str]) -> str:
        if found[0] not in self._by_digest and ":" not in found[0]:
            return found[0]
        self._add(found[0], "digest")
        return self._by_digest[found[0]]
