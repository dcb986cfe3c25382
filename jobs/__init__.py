"""What is launched: the command line and what it needs of the world around it."""
