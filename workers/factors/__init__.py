"""What the measuring workers of both frameworks share, because it belongs to neither (docs/factors.md)."""
