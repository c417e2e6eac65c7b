# SPDX-License-Identifier: Apache-2.0
"""Bundles as downloads: built from the repository and trained weights, verified, exported."""
