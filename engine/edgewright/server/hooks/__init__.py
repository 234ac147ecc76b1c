"""Webhooks of forges: signatures, payloads, routes."""
