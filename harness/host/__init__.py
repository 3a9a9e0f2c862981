# SPDX-License-Identifier: GPL-2.0
"""What the machine gives: processes, apt, the cache, tools, git, knobs, and what is printed."""
