"""What is measured, beside what: see the Makefile. None of this is needed to run the exporter."""
