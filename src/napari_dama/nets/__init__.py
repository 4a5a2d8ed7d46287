"""Torch modules and nothing else: no files, no printing, no global randomness."""
