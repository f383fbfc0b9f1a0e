"""The fixed list of dtypes that both sides are asked for, by the names of the Open Inference Protocol and beyond."""

DTYPES = (
    "BOOL",
    "UINT8",
    "UINT16",
    "UINT32",
    "UINT64",
    "INT8",
    "INT16",
    "INT32",
    "INT64",
    "FP16",
    "FP32",
    "FP64",
    "BF16",
    "BYTES",
    "COMPLEX64",
    "FP8 (e4m3)",
)

MOVED, ADDED = "dtypes moved", "dtypes added"
"""What is done with each: joined to itself, and added to itself (BOOL: or, BYTES: joined)."""
