"""The database below the tables: engine, transactions, migrations and lock numbers."""
