"""What would the scanner measure? Timeline, Phantom, the engines and the virtual scanner."""
