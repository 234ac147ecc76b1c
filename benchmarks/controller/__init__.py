"""What a controller costs: passes, webhooks to plans, idle time."""
