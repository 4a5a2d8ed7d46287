"""Work that outlives the window."""
