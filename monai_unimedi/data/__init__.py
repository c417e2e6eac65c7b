# SPDX-License-Identifier: Apache-2.0
"""From a datalist to batches: datalists, datasets, samplers, collation, and the phantom generator."""
