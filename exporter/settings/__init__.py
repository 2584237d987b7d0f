"""The settings of the server: their table, where their values come from, and what the values mean."""
