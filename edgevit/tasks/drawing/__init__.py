"""What the drawings of several tasks share."""
