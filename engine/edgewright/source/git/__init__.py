"""Git itself: repositories, commands, remotes, credentials, signatures. Everything else of ``source`` calls it."""
