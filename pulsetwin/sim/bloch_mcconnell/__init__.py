"""Water, exchanging pools and semisolid under any `.seq`: the Bloch-McConnell engine."""
