"""Thin Airflow operators around the core: context in, one step of include.backup, errors out."""
