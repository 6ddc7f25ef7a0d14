"""The networks: one room a system, the parts and passes they share, and the zoo that joins them."""
