"""``make demo``, and what it runs processes with; tests and benchmarks run theirs with the same."""
