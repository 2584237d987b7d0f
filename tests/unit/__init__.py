"""Tests of single modules, without processes and servers."""
