"""How results look: as text for people, JSON for machines, Markdown for pull requests."""
