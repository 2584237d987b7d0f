"""The public listener: the requests that SMTPeter sends, from raw bytes to the answer."""
