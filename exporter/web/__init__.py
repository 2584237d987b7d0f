"""The private listener: metrics, health and the status page, for Prometheus and the operator."""
