"""`python3 -m flashling.bench.full [load] [sessions] [mixed] [serve] [NAME=VALUE ...]`: the command
`flashling bench full`.
"""

from __future__ import annotations

import sys

from .run import main

if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
