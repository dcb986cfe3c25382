"""Plan the requests of a group, within the limits of the service."""
