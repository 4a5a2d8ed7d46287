"""Cells as data: find, crop, store, measure."""
