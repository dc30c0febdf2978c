"""Which sequence is best: parameters, losses and penalties, the loop that learns them, and experiments."""
