"""A run on the host: the loop over compiled chunks, and what can interrupt it."""
