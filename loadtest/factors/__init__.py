"""The articles' table, measured: every factor that they argue about as a number of this machine (docs/factors.md)."""
