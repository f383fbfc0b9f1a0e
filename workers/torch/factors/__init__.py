"""Workers that measure PyTorch's side of the articles' table, each a process of its own (docs/factors.md)."""
