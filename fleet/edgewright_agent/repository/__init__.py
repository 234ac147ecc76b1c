"""The published repository as a device sees it: transport, trust (TUF), blobs, watching."""
