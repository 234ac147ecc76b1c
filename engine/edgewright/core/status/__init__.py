"""Conditions, events, and notifications chosen from them. Pure; ``reconcile`` stores them, ``render`` shows them."""
