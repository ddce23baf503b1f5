"""An event camera's parameters from its recordings."""
