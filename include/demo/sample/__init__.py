"""The sample of the demo: two years of a platform that sells AI credits, and its configuration files.

Whoever opens the demo sees names, amounts and texts that look real, and every peculiarity of PostgreSQL that
a partial backup can trip over. Read schema.sql first, then history.py.
"""

from include.demo.sample.configuration import write_sample_configuration
from include.demo.sample.load import SampleCounts, SampleError, load_sample

__all__ = ["SampleCounts", "SampleError", "load_sample", "write_sample_configuration"]
