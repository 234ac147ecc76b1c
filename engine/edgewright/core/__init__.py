"""Decisions, made purely from values: no clock, files, network or database.

Nothing here reads a clock, a file, Git or a network: ``now`` and everything observed are arguments.
"""
