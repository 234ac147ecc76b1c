"""Executors of build steps. ``staging`` lays out a task's inputs, ``local`` runs it in a process here."""
