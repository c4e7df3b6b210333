"""`make bench`: the two contests, one after the other, on one source; the other benchmarks run alone."""

import sys

from benchmarks import data_path, restore

if __name__ == "__main__":
    sys.exit(data_path.main() or restore.main())
