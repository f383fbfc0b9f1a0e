"""What becomes of single requests, told one by one to whoever asks for it: an access log, traces."""
