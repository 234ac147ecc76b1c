"""Models that other tools make: imported ONNX files, and commands that write one."""
