"""What an exporter tells its publisher, beside tensors: lines while it works, and a report at the end."""

import msgspec

PROGRESS = "progress: "
"""How a line of an exporter's output begins that is meant for the user; all others only explain a failure."""


class ExportReport(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What an exporter found out about its artifact. `operators` are those of a SavedModel's graph, sorted."""

    operators: tuple[str, ...] = ()
