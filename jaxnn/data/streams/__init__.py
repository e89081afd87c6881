"""Data larger than memory: rows that stay on the disk until a step takes them."""
