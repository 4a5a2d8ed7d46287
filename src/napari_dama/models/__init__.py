"""The shelf: bundled weights with model cards, and the user's own."""
