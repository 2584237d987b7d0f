"""Tests of exporter/webhook."""
