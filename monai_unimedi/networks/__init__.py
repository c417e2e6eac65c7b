# SPDX-License-Identifier: Apache-2.0
"""Networks: blocks, nets, and the loading of initial weights."""
