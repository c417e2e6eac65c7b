# SPDX-License-Identifier: Apache-2.0
"""Inference with a trained model: zero-shot recognition from prompts."""
