"""Measures this product against the tools one would take otherwise: same rows, same server, in turn, as ratios."""
