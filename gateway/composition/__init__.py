"""What `gateway.app` puts together: the core, what the dialects share, both transports, and the background tasks."""
