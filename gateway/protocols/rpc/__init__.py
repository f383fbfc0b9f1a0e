"""The dialects that travel by gRPC, and what every call of theirs has in common."""
