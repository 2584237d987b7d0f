"""The command line: one module per group of commands, and the options that they share."""
