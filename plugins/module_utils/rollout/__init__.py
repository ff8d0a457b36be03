# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rolling an Auto Scaling group: observe, decide, act.

values -> decisions -> drive, which also uses edge (AWS, hosts) and tell (people).
"""
