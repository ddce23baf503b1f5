"""The sensors: light in, spike and event streams out."""
