"""The scores of one group to one ranking, whatever the service refuses."""
