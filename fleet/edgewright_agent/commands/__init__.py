"""Commands of ``edgewright-agent``, a module for each family.

``main`` reads the command line, and imports a family only when one of its commands was given.
"""
