"""Devices as values: membership of fleets, routes to update systems, enrollment, twins. Pure."""
