"""MLPerf's LoadGen decides when to ask and what counts; the gateway is asked over HTTP, and every answer is checked.

`loadgen.py` alone knows LoadGen's API, `asking.py` alone how the gateway is asked; `scenarios.py`, `detail_log.py` and
`results.py` are pure.
"""
