"""The one-command demo: an embedded PostgreSQL with sample data, a local mailbox, and a real Airflow."""
