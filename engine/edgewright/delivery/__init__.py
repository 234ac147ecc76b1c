"""Drivers that reach devices: one port, one conformance suite."""
