"""Values and errors that flow through every room; imports no other room."""
