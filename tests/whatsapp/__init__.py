"""Facts about whatsapp."""
