"""Signed bundles for SWUpdate and RAUC, each made of a payload, a descriptor and a script, and cached while needed.

``maker`` is called by the drivers; ``cache`` keeps the bundles that any of them builds.
"""
