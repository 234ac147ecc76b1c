"""Pictures: what decodes them, brings deep greys into eight bits and finds copies. Used by the rest of ``dataset``."""
