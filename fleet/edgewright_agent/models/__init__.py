"""Models on the device: packages, slots, the actions that change them, the installer."""
