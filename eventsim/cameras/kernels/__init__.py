"""The two camera models as fast Numba kernels, and nothing else."""
