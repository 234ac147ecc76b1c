"""The commands, a module for each noun. They wire, call and show; they decide nothing."""
