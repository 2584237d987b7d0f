"""Tests of what deploy/ and grafana/ hold."""
