# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Machine images: what one is made of, whether it exists already, and how Packer makes it.

Each file does one thing: `hcl` and `template` read what Packer will read, `fingerprint` digests it, `cloud` asks EC2,
`packer` runs the program, `manifest` reads what came out, `build` puts them in order.
"""
