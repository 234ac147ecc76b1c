"""From YAML to a snapshot: parsing, overlays, substitution, references, and every problem with its position."""
