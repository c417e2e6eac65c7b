# SPDX-License-Identifier: Apache-2.0
"""What a trained model is worth: per-case values, 95 % intervals over cases, and one summary of all."""

from monai_unimedi.metrics.summary import summarize as summarize
from monai_unimedi.metrics.table import compare_to_floors as compare_to_floors
from monai_unimedi.metrics.table import format_floors as format_floors
from monai_unimedi.metrics.table import format_table as format_table
