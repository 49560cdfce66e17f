"""Is a model at most this much less safe than before? Rules, checks, and what pipelines read."""
