"""The command line: commands grouped by what they share, and their options."""
