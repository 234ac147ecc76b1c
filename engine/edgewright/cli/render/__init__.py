"""Results as text and tables for a terminal. JSON and Markdown are rendered by ``edgewright.render``."""
