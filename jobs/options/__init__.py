"""The options of the commands, and the settings made from them."""
