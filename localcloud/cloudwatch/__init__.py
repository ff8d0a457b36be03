# SPDX-License-Identifier: GPL-3.0-or-later
"""Amazon CloudWatch as far as scaling needs it: metrics that callers put."""
