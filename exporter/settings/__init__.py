"""The settings of the server: the table of settings, the sources of their values, and the parsers of these values."""
