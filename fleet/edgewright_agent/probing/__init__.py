"""Golden samples on the device's own runtime, in a process of their own."""
