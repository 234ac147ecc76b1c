"""Observe, plan, act, record: the executor walks a plan, the reconciler keeps going until reality matches."""
