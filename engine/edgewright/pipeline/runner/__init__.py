"""Runner inside a worker process: the task, its context, the repository's own code. Executors start ``worker``."""
