"""The update system of edgewright's own agent: assignments in the published repository, reports in a drop."""
