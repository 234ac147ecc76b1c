"""Drivers that tell people and machines: chat webhooks, signed webhooks, mail. Each implements ports.Notifier."""
