# SPDX-License-Identifier: GPL-3.0-or-later
import sys

from localcloud.cli import main

sys.exit(main())
