"""Spin diffusion: how polarisation from a frozen radical solution builds up within the particles that it wets."""
