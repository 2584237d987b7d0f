"""Tests of the project: packages, forge, benchmarks, layout."""
