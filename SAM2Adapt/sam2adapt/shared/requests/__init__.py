"""The requests as plain data: the settings of each action, and their JSON schema."""
