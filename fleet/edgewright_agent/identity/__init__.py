"""A device's keys and certificates, and how a server comes to know it."""
