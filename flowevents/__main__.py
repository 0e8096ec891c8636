"""`python -m flowevents`, and what the command `flowevents` calls."""

from __future__ import annotations

import sys

from flowevents.errors import MissingExtra

__all__ = ["main"]


def main() -> int:
    """Run the command line. Returns the exit code; without the extra `cli` that is 2."""
    try:
        from flowevents.cli.commands import run_command
    except MissingExtra as missing:
        print(f"flowevents: {missing}", file=sys.stderr)
        return 2
    return run_command(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
