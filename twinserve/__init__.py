"""The command line and what it is made of: publishing, supervising, talking to the gateway.

Workers are run as subprocesses only, so this package imports neither of the two frameworks.
"""
