"""Benchmarks and long-running checks; the Makefile lists them. The exporter does not need them."""
