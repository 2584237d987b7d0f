"""Classify reports of failures: labels, reason and mailbox provider. Pure: no network, disk or clock."""
