# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files of dotenv: what they hold, how they are encrypted, and how they are written.

Each file does one thing: `grammar` reads assignments, `evaluate` makes of them what dotenvx does, `readings` says what other
readers take them for, `keys` reads what a user gives as a key, `vault` opens and seals an environment of a `.env.vault`,
`dotenvx` opens the values of a `.env` that dotenvx encrypted, `reader` tells the two apart, `writer` makes vaults and changes
their keys, `access` looks after the files.
"""
