"""The kinds a spec repository declares, as strict pydantic models.

Modules: ``base`` (what every kind shares), one module for each kind, ``kinds`` (the registry: kind name to
model), ``jsonschema`` (writes ``schemas/json/``). Nothing here reads files or knows of the engine.
"""
