"""Costs of building beside the build of an earlier commit and beside plain loops. Called by ``__main__``."""
