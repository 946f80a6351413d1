"""The requests as plain data: what each action takes, and what follows from that."""
