"""Images from RASER projections: tomography of spectra, and the inversion of the nonlinear equations of motion."""
