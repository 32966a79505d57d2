"""`python -m nas` is the `nas` command."""

import os
import sys

# `python -m` looks for modules in the working folder first; a file there is no part of nas. (`-P` leaves it out itself.)
if not sys.flags.safe_path and sys.path and sys.path[0] in ("", os.getcwd()):
    del sys.path[0]

from nas.cli import main

if __name__ == "__main__":
    main()
