"""Who may send requests, and how many: API keys and what each is allowed."""
