"""``make demo``, and helpers for running processes that tests and benchmarks also use."""
