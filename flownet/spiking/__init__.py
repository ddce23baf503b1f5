"""Spiking networks: neurons, conversion of trained networks, calibration, and what a spike costs."""
