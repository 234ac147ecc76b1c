"""What the commands of ``edgewright-agent`` do, a module for each family; each wires the world to what it runs.

``main`` reads the command line, and imports a family only when one of its commands was given.
"""
