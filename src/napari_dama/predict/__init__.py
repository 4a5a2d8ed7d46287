"""Slides in, results out, tile by tile."""
