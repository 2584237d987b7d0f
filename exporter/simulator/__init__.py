"""Act as SMTPeter: send one event, or a stream of simulated events. ``serve`` never imports this package."""
