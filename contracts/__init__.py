"""What crosses a process boundary: files in the repository, wire messages, addresses. Nothing else lives here.

Every other package may import contracts; contracts imports none of them.
"""
