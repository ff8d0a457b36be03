# SPDX-License-Identifier: GPL-3.0-or-later
"""Amazon EC2 Auto Scaling: a pure model (``model``), its API (``service``) and a virtual-clock cloud (``simulation``).

Imports are relative here, and in the few modules that these need: an action plugin of the collection simulates with
them where there is no top-level package ``localcloud``.
"""
