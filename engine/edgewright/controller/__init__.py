"""What ``edgewright serve`` runs all day: one loop per environment, previews, outbound messages, health.

``supervisor`` starts and ends ``controller``s; ``wiring.serving`` assembles them. ``server`` speaks HTTP.
"""
