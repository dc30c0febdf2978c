"""RASER: modes of inverted spins that a resonator couples to each other, so that they emit by themselves."""
