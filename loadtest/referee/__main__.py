"""`python -m loadtest.referee`: MLPerf's LoadGen asks the gateway; docs/loadtest.md tells what comes of it."""

import json
import os
import sys

CANNOT_RUN = 2


def main() -> int:
    """Run the command line; returns the exit code."""
    try:
        from loadtest.referee.program import INTERRUPTED, run_program
    except ModuleNotFoundError as error:
        missing = f"this needs {error.name}: pip install -c constraints.txt -e '.[gateway,load]'"
        if "--json" in sys.argv:
            sys.stdout.write(json.dumps({"error": missing}) + "\n")
        else:
            sys.stderr.write(f"loadtest.referee: {missing}\n")
        return CANNOT_RUN
    code = run_program(sys.argv[1:])
    if code == INTERRUPTED:
        # LoadGen cannot be stopped: its threads may call back while Python ends, so Python does not end in order.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    return code


if __name__ == "__main__":
    sys.exit(main())
