"""Options of the commands, and the settings that they make."""
