"""Run the command line: ``python -m dds --help``."""

import sys

from dds.commands import main

if __name__ == "__main__":
    sys.exit(main())
