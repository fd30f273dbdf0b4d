"""Which channels and weights can go, and how the rest makes up for them."""
