"""HTTP as the agent speaks it. Imported only where a server is configured."""
