"""What a report means: its labels, its reason, its mailbox provider. Pure: no network, no disk, no clock."""
