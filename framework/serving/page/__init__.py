"""The pages for people: static files, the same for everybody; what they show comes from the API."""
