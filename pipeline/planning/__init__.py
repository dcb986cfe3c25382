"""One group to its requests, within the limits of the service."""
