"""The step export: ONNX files of a model, as trained and quantized. ``step.build`` is the entry point."""
