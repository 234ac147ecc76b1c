"""Where build steps run. ``local`` runs each in a process of its own on this machine."""
