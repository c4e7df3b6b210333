"""The HTTP side: a FastAPI app that Airflow's api-server serves under /backup. Only that server imports it."""
