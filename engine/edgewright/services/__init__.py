"""Use cases that any face can call: the command line today, an API and pages later.

A function takes an environment and values, and returns values; it prints nothing and knows no driver.
"""
