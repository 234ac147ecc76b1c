from pathlib import Path
from typing import Any

import onnxruntime
import pytest
import torch

from edgewright.pipeline.training.architectures import ScaledOutput, build_architecture


@pytest.mark.parametrize(
    ("use", "arguments", "shape", "regression"),
    [
        ("small-cnn", {"width": 4, "activation": "silu", "dropout": 0.5}, (3, 9, 20), False),
        ("small-cnn", {"width": 3}, (1, 4, 4), True),
        ("mlp", {"hidden": [], "dropout": 0.1}, (5,), True),
        ("mlp", {"hidden": [7, 6], "activation": "silu"}, (5,), False),
    ],
)
def test_a_built_in_exports_with_a_free_batch_and_computes_the_same(
    tmp_path: Path, use: str, arguments: dict[str, Any], shape: tuple[int, ...], regression: bool
) -> None:
    torch.manual_seed(0)
    outputs = 1 if regression else 3
    module = build_architecture(use, arguments, input_shape=shape, outputs=outputs)
    module = (ScaledOutput(module) if regression else module).eval()
    file = tmp_path / "m.onnx"

    batch = {0: torch.export.Dim("batch")}
    torch.onnx.export(module, (torch.rand(2, *shape),), file, dynamo=True, dynamic_shapes=(batch,), verbose=False)

    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    for rows in (1, 5):
        inputs = torch.rand(rows, *shape)
        with torch.no_grad():
            expected = module(inputs)
        (found,) = session.run(None, {session.get_inputs()[0].name: inputs.numpy()})
        assert found.shape == (rows, outputs)
        torch.testing.assert_close(torch.from_numpy(found), expected, atol=1e-5, rtol=1e-4)
