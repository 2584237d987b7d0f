"""The private listener: metrics, health endpoints and the status page, for Prometheus and the operator."""
