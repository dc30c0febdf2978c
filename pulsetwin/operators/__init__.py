"""Linear operators with exact adjoints and the solvers that invert them, shared by the twin and the reconstruction."""
