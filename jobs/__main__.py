"""`python -m jobs` is the command `rerank`."""

import sys

from jobs.cli import main

sys.exit(main())
