"""What Prometheus scrapes: the ledger's totals, and the metrics about the exporter itself."""
