"""Findings on a change of specs: lost safety, secrets, code. Pure; previews and ``plan --base`` show them."""
