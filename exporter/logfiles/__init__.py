"""Read SMTPeter's log files, and what its webhooks send, as records of variables."""
