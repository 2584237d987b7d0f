"""Act as SMTPeter: send one failure, or a stream of simulated failures. ``serve`` never imports this package."""
