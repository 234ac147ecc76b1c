"""Resources that are open until the command ends. ``workspaces`` adds to them; ``main`` closes them."""

from contextlib import ExitStack

RESOURCES = ExitStack()
