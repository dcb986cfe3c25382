"""Two DAGs to copy: every night, and months of partitions."""
