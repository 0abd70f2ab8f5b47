"""`python -m emt_tasks` is `emt`: for `accelerate launch -m emt_tasks …`."""

import sys

from emt_tasks.commands.app import main

sys.exit(main())
