"""Critical Backup: the core, its Airflow operators, templates and demo."""
