# SPDX-License-Identifier: GPL-2.0
"""From patches/ to a kernel tree, and to mails."""
