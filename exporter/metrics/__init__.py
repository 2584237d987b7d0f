"""The metrics that Prometheus scrapes: the ledger's totals, and those about the exporter itself."""
