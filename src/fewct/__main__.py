"""`python -m fewct`."""

import sys

from fewct.cli import main

if __name__ == "__main__":
    sys.exit(main())
