"""`python -m twinserve` is the `twinserve` command."""

from twinserve.cli import main

if __name__ == "__main__":
    main()
