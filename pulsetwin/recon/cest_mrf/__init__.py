"""CEST-MRF: proton fractions and exchange rates from the images of a schedule of saturations."""
