# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who may reach what, as data: `model` reads it, `tailnet` and `twingate` render it, `judge` runs the test cases on what was
rendered. Nobody reaches anything that is not written down.
"""
