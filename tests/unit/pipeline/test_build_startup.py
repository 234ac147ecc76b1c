"""What a plan imports of the builder stays light."""

import subprocess
import sys

HEAVY = ("numpy", "pyarrow", "fsspec", "PIL", "torch", "onnx", "onnxruntime")


def test_wiring_the_builder_imports_no_heavy_library() -> None:
    script = (
        "import sys, edgewright.pipeline.executors.local, edgewright.pipeline.dataset.source_index\n"
        f"print(*[name for name in {HEAVY!r} if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
