"""The published TUF repository: packages, assignments, signing keys, inspection, clean-up."""
