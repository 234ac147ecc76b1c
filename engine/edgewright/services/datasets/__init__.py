"""Use cases on built datasets."""
