"""What to do, decided purely from values.

Nothing here reads a clock, a file, Git or a network: ``now`` and everything observed are arguments.
"""
