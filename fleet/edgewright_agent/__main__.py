"""``python -m edgewright_agent``."""

from edgewright_agent.main import run

if __name__ == "__main__":
    run()
