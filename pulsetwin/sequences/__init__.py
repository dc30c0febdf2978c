"""Pulseq sequences: reading `.seq` files and what they play."""
