"""Tasks: what differs by what a model predicts, one module for each."""
