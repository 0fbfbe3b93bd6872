"""``python -m kdns`` is ``kdns``."""

import sys

from kdns.cli.main import main

sys.exit(main())
