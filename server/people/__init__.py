"""People: who may use the service, each with a log-in of their own."""
