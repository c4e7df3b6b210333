"""`python -m include.backup check`."""

from __future__ import annotations

import sys

from include.backup.check_command import main

if __name__ == "__main__":
    sys.exit(main())
