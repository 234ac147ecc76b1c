"""Common parts of drivers that push through a customer's own server: HTTP client, worker, bundles and twin writes."""
