"""The cost of devices: polls, reports, pushes over SSH."""
