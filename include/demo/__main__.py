"""`python -m include.demo up [--once]` and `python -m include.demo backup`; see `make help`."""

from __future__ import annotations

import argparse
import os
import sys

from include.demo.errors import DemoError
from include.demo.folder import DemoFolder
from include.demo.progress import Progress
from include.demo.stage import StopRequested, one_more_backup, run_demo

EXIT_INTERRUPTED = 130


def main() -> int:
    """Run one of the two commands and return the exit status."""
    folder = DemoFolder.from_environment(os.environ)
    wish = arguments()
    try:
        if wish.command == "up":
            run_demo(folder, Progress(), os.environ, once=wish.once)
        else:
            one_more_backup(folder, Progress())
    except DemoError as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    except (StopRequested, KeyboardInterrupt):
        return EXIT_INTERRUPTED
    return 0


def arguments() -> argparse.Namespace:
    """Return what the command line says."""
    parser = argparse.ArgumentParser(prog="python -m include.demo", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    up = commands.add_parser("up", help="start everything, make one backup, stay until Ctrl-C")
    up.add_argument("--once", action="store_true", help="end after the backup")
    commands.add_parser("backup", help="make one more backup in the running demo")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
