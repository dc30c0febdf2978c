"""Spin diffusion: the radius of particles from how their solid and the frozen solution around it build up."""
