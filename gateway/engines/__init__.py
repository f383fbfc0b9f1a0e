"""Adapters of the Engine port, one module an engine. Every library error is translated here and goes no further."""
