# SPDX-License-Identifier: GPL-3.0-or-later
"""The API of Amazon EC2 Auto Scaling by subject: boto3's shapes in and out, AWS's refusals in its own words."""
