"""Closed-form signals of quantitative sequences, differentiable in the tissue and batched over voxels."""
