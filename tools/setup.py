#!/usr/bin/env python3
"""Sets up the book and runs its commands; needs nothing but Python. `python tools/setup.py` lists them."""

# Old Pythons must be able to read this file far enough to say that they are too old.
import sys

if sys.version_info < (3, 11):
    sys.exit(
        "This book needs Python 3.11 or newer, and this is Python %d.%d. Install a newer one from python.org or with "
        "your system's package manager, then run it by name, for example: python3.11 tools/setup.py lab"
        % sys.version_info[:2]  # no f-string: Python 2 reads this line
    )

from installer.commands import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
