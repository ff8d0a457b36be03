# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Capacity by a calendar: `calendar` and `ics` read events, `plan` turns them into sizes over time, `actions` compares those with
a group's scheduled actions, `picture` shows them; `apply` talks to AWS.
"""
