"""What devices cost: polls, reports, pushes over SSH."""
