"""The cost of a controller: passes, webhooks to plans, idle time."""
