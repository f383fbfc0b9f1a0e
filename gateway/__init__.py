"""One entrance in front of both engines: decodes, routes, batches, leases, fails over, measures."""
