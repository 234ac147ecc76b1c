"""The exporter's operators, made once for many exports. The fork server imports this before it forks exports.

For every export torch asks onnxscript for its functions, and onnxscript parses the source of all 500 to name them. They
do not change within a process: the first answer is kept.
"""

from functools import cache
from importlib import import_module

_exporter = import_module("torch.onnx._internal.exporter._registration").onnxscript_apis
_exporter.get_torchlib_ops = cache(_exporter.get_torchlib_ops)
_exporter.get_torchlib_ops()
