"""Act as SMTPeter: send one failure or a stream of simulated traffic; never imported by the server."""
