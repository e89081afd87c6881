"""One file a format: each gives a `Source`."""
