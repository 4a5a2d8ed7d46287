"""Results to other tools."""
