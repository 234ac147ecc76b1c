"""Drivers of ``ports.forges``: GitHub, GitLab, Gitea with Forgejo. ``settings`` finds which, ``opening`` opens it."""
