"""The command step: a program that writes an ONNX file; ``step.build`` is its entry point."""
