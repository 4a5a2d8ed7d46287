"""One file of settings is one run."""
