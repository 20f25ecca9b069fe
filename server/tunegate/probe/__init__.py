"""Step 1: what a model and a dataset are, from their headers alone."""
