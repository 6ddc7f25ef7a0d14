"""Building blocks that more than one system is made of, and what they say of themselves to passes."""
