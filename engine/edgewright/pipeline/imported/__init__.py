"""The import step: existing ONNX files, checked; ``step.build`` is its entry point."""
