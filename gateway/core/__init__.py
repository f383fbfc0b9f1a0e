"""What the gateway is about, free of any framework: this package imports the standard library and numpy only."""
