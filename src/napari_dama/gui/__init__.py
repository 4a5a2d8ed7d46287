"""The only place that knows Qt and napari."""
