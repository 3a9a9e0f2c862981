# SPDX-License-Identifier: GPL-2.0
"""Every interleaving of a few tasks, in userspace."""
