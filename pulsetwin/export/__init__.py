"""What leaves the house: files, figures and reports."""
