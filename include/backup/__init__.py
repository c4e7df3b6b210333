"""The core: plain Python that never imports Airflow. A value passes its modules in the order of the spec's steps."""
