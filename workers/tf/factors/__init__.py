"""Workers that measure TensorFlow's side of the articles' table, each a process of its own (docs/factors.md)."""
