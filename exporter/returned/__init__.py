"""Read the messages that mail servers and people return to a sender. Pure: no network, disk or clock."""
