"""The networks and their parts: one idea per module."""
