"""What tests share: databases, servers, captured requests."""
