"""``python -m stayhand`` is the command ``stayhand``."""

import sys

from stayhand.cli import main

sys.exit(main())
