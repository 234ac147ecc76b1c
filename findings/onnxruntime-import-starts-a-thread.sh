#!/usr/bin/env bash
# onnxruntime 1.32.0, Linux x86-64, Python 3.11: `import onnxruntime` alone, before any session, starts a native thread.
#
# torch 2.13, pyarrow (but for its allocator's own thread), onnx and scikit-learn can be imported by a process that forks
# workers afterwards; onnxruntime cannot, for a forked process has the library and not its thread. A fork server that
# preloads libraries must leave it to the workers.
#
# Seen:
#   numpy: 1 thread
#   onnxruntime: 2 threads
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check onnxruntime==1.32.0 numpy==2.4.6
seen=$(OPENBLAS_NUM_THREADS=1 OMP_NUM_THREADS=1 "$folder/venv/bin/python" - <<'PYTHON'
import importlib, os
for name in ("numpy", "onnxruntime"):
    importlib.import_module(name)
    threads = len(os.listdir("/proc/self/task"))
    print(f"{name}: {threads} thread{'s' if threads > 1 else ''}")
PYTHON
)
echo "$seen"
[ "$seen" = "numpy: 1 thread
onnxruntime: 2 threads" ] || { echo "the behaviour has changed" >&2; exit 1; }
