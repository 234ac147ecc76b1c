"""Specs and programs of the repositories that ``make.py`` makes; it imports this from beside itself."""

EPOCHS = 60
HEAD = "apiVersion: edgewright.dev/v1alpha1\n"
LABELS = ("ok", "low", "empty")


def rows() -> str:
    """120 readings of shelves: a full one is heavy and has no gap."""
    lines = ["store,weight,gap,label"]
    for n in range(120):
        kind = n % 3
        weight = (0.9, 0.5, 0.1)[kind] + (n * 7 % 13 - 6) / 100
        gap = (0.1, 0.5, 0.9)[kind] + (n * 5 % 11 - 5) / 100
        lines.append(f"{'abc'[n // 3 % 3]},{weight:.3f},{gap:.3f},{LABELS[kind]}")
    return "\n".join(lines) + "\n"


def model(*, rate: float, epochs: int = 6) -> str:
    return (
        HEAD + "kind: Model\nmetadata: {name: shelf}\nspec:\n  task: tabular-classification\n  dataset: shelf\n"
        "  architecture: {use: mlp, with: {hidden: [8]}}\n"
        f"  training: {{epochs: {epochs}, batchSize: 8, learningRate: {rate}, seed: 1}}\n"
        "  package:\n    quantization: {mode: static-int8, calibrationSamples: 12, fallback: fp32}\n"
        "    golden: {samples: 4, atol: 0.05}\n  thresholds: shelf\n"
    )


def thresholds(*, size: str = "64KiB") -> str:
    return (
        HEAD + "kind: Thresholds\nmetadata: {name: shelf}\nspec:\n  gates:\n"
        "    - {metric: accuracy, min: 0.8}\n"
        '    - {metric: accuracy, slice: {store: "*"}, min: 0.7}\n'
        "    - {metric: accuracy, maxDegradation: 0.2, against: champion}\n"
        f"    - {{metric: sizeBytes, max: {size}}}\n"
        "    - {metric: latencyP95Ms, max: 10000, deviceClass: sensor}\n"
    )


def rollout(name: str = "shelf", *, approval: bool = False) -> str:
    return (
        HEAD + f"kind: Rollout\nmetadata: {{name: {name}}}\nspec:\n  model: {name}\n  fleet: shops\n  waves:\n"
        "    - select: {matchLabels: {ring: canary}}\n    - percent: 100\n"
        + ("  approval: {beforeWave: 2}\n" if approval else "")
        + "  maxUnavailable: {count: 2}\n  success: {minRatio: 1.0, deadline: 1h}\n  onFailure: rollback\n"
    )


def fleet(inventory: str) -> str:
    return (
        HEAD + f'kind: Fleet\nmetadata: {{name: shops}}\nspec:\n  inventory: "fleets/{inventory}.csv"\n'
        "  delivery: {type: agent}\n"
        "  config: {template: templates/shelf.toml.j2, path: shelf.toml, values: {alertBelow: 0.25}}\n"
    )


def common() -> dict[str, str]:
    """What both repositories have, less the Fleet's inventory, the Rollout and edgewright.yaml."""
    return {
        "data/shelf.csv": rows(),
        "specs/dataset.yaml": HEAD + "kind: Dataset\nmetadata: {name: shelf}\nspec:\n"
        "  source: {uri: data/shelf.csv, format: csv}\n  columns:\n"
        "    weight: {type: number}\n    gap: {type: number}\n"
        "    label: {type: category, values: [ok, low, empty]}\n"
        "  split: {train: 0.6, validation: 0.2, test: 0.2, seed: 7}\n  slices: [store]\n"
        "  checks: [{rows: {min: 100}}, {column: label, missing: {max: 0}}]\n",
        "specs/model.yaml": model(rate=0.05),
        "specs/thresholds.yaml": thresholds(),
        "templates/shelf.toml.j2": 'device = "{{ device.id }}"\nstore = "{{ device.labels.store }}"\n'
        "alert_below = {{ values.alertBelow }}\n",
    }


def plain() -> dict[str, str]:
    """A repository without environments; two devices."""
    return common() | {
        "edgewright.yaml": HEAD + "kind: Repository\nmetadata: {name: shop}\n"
        "spec: {paths: [specs], delivery: {bins: 2}}\n",
        "specs/fleet.yaml": fleet("shops"),
        "specs/rollout.yaml": rollout(approval=True),
        "fleets/shops.csv": "id,store,ring,class\ndev-1,a,canary,sensor\ndev-2,b,stable,sensor\n",
    }


def with_environments() -> dict[str, str]:
    """Staging follows a branch, production a tag; one device there, two here."""
    return common() | {
        "edgewright.yaml": HEAD + "kind: Repository\nmetadata: {name: shop}\nspec:\n  paths: [specs]\n"
        "  delivery: {bins: 2}\n  environments:\n"
        "    - name: staging\n      follow: {branch: main}\n      values: {site: lab}\n"
        "      delivery: {repository: .edgewright/environments/staging/repository,"
        " reports: .edgewright/environments/staging/reports, bins: 2}\n"
        "    - name: production\n      follow: {tag: production}\n      overlays: [production]\n"
        "      values: {site: shops}\n"
        "      delivery: {repository: .edgewright/environments/production/repository,"
        " reports: .edgewright/environments/production/reports, bins: 2}\n",
        "specs/fleet.yaml": fleet("${site}"),
        "specs/rollout.yaml": rollout(),
        "production/fleet.yaml": HEAD + "kind: Fleet\nmetadata: {name: shops}\nspec:\n"
        "  config: {values: {alertBelow: 0.4}}\n",
        "fleets/lab.csv": "id,store,ring,class\nlab-1,a,canary,sensor\n",
        "fleets/shops.csv": "id,store,ring,class\nshop-1,a,canary,sensor\nshop-2,b,stable,sensor\n",
    }


IMPORTED = """
import sys
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
def weights(name, values): return numpy_helper.from_array(np.array(values, dtype=np.float32), name)
graph = helper.make_graph(
    [helper.make_node("Gemm", ["input", "w", "b"], ["output"])],
    "linear",
    [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 2])],
    [helper.make_tensor_value_info("output", TensorProto.FLOAT, ["batch", 3])],
    [weights("w", [[4, 0, -4], [-4, 0, 4]]), weights("b", [0, 1, 0])],
)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], producer_name="a spreadsheet")
model.ir_version = 9
onnx.checker.check_model(model)
onnx.save(model, sys.argv[1])
"""
"""Writes a model that somebody else trained."""

KILLING = """
import os, signal, sys
real = os.replace
def replace(source, target, **more):
    if os.fspath(target).endswith(".snapshot.json"):
        os.kill(os.getpid(), signal.SIGKILL)
        signal.pause()
    real(source, target, **more)
os.replace = replace
sys.argv[0] = "edgewright"
from importlib.metadata import entry_points
(program,) = entry_points(group="console_scripts", name="edgewright")
program.load()()
"""
"""``edgewright`` that is killed when a package is signed and no device can see it yet."""
