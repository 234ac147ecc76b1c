"""The controller behind ``edgewright serve``: one loop per environment, previews, outbound messages, health.

``supervisor`` starts and ends ``controller``s; ``wiring.serving`` assembles them. ``server`` speaks HTTP.
"""
