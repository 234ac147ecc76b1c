"""What update systems install: bundles made of a payload, a descriptor and a script, signed, and kept until not needed.

``making`` is called by the drivers; ``caching`` keeps what any of them builds.
"""
