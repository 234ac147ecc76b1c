"""Benchmarks; ``python -m benchmarks`` runs them all. They borrow servers and builders from ``tests/fakes``."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))
