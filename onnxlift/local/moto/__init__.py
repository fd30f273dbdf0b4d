"""AWS on this machine: a moto server with the resources of a deployed service."""
