"""What a client sees: each module has the routes of one endpoint, and its request and response as data."""
