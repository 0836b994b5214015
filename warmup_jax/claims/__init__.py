"""Claims of the literature about warmup: how each is judged."""
