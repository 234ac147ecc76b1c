"""Content-addressed blobs and their garbage collection."""
