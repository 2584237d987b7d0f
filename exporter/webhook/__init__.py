"""The public listener: SMTPeter's requests, from raw bytes to the answer."""
