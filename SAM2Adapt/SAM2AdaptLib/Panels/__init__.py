"""What both panels show."""
