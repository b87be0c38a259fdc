"""HTTP: webhooks, health, pages, security."""
