"""Tests of exporter/signature."""
