"""Git to snapshot: what is desired, read without touching anyone's work tree."""
