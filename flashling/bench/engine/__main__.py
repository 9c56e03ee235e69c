"""`python3 -m flashling.bench.engine [decode] [prefill] [drafts] [NAME=VALUE ...]`: the command
`flashling bench engine` on a machine with little beside torch.
"""

from __future__ import annotations

import sys

from .run import main

if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
