"""What is asked for, and every refusal before anything is loaded."""
