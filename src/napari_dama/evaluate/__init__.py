"""Scores of segments and types against truth."""
