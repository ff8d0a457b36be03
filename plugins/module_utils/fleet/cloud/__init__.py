# Copyright: (c) 2026, boring.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""AWS as a fleet uses it: `observe` looks, by batches; the files named after things make, change and remove these; `drive` goes through a plan.

What is to be done is decided outside, in `plan` and `facts`. Clients have boto3's shape and are passed in.
"""
