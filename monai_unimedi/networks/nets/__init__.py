# SPDX-License-Identifier: Apache-2.0
"""The image tower, the report tower, and the training module that joins them."""
