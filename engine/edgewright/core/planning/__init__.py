"""From desired and observed state to a plan. Pure; ``planner.plan`` is the entry point, ``reconcile`` executes it."""
