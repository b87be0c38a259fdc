"""HTTP: webhooks, pages, security."""
