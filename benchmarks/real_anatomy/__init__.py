# SPDX-License-Identifier: Apache-2.0
"""Lesions of the phantom's kinds in the thoraces of real patients: made, trained on, measured."""
