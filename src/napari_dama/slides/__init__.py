"""A multiplexed image: lazy pixels, marker names, pixel size."""
