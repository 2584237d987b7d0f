"""Verify that SMTPeter signed a request, with public keys from DNS."""
