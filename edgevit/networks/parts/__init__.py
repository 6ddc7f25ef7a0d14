"""Building blocks of more than one system, and what they say of themselves to passes."""
