"""The rollout state machine: waves, budgets, failures, requests. Pure; ``machine.advance`` is the entry point."""
