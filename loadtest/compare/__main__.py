"""`python -m loadtest.compare`, which `twinserve compare` runs."""

import json
import sys

CANNOT_RUN, INTERRUPTED = 2, 130


def main() -> int:
    """Run the command line; returns the exit code."""
    try:
        from loadtest.compare.program import run_program
    except ModuleNotFoundError as error:
        missing = f"this needs {error.name}: pip install -c constraints.txt -e '.[gateway,load]'"
        if "--json" in sys.argv:
            sys.stdout.write(json.dumps({"error": missing}) + "\n")
        else:
            sys.stderr.write(f"twinserve compare: {missing}\n")
        return CANNOT_RUN
    except KeyboardInterrupt:
        return INTERRUPTED
    return run_program(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
