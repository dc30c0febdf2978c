"""From raw data to images."""
