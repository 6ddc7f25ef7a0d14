"""What is set up once, on the user's word, in a directory of the user's own."""
