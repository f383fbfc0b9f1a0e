"""Protocol buffer sources and their compiled descriptor set."""
