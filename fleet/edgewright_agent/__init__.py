"""The device side: fetches, proves and swaps models, and says what it runs."""

__version__ = "0.1.0"
