"""Simulated multiplexed tissue with instance labels and types."""
