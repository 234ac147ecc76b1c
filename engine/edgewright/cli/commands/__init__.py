"""The commands, a module for each noun. They parse, call ``services`` and print; they decide nothing."""
