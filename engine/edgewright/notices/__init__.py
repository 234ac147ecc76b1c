"""Notifications: chat webhooks, signed webhooks and mail behind one port."""
