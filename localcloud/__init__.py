# SPDX-License-Identifier: GPL-3.0-or-later
"""The local cloud: AWS's EC2, Auto Scaling, ELBv2 and SSM APIs on loopback, with real systemd hosts behind them."""
