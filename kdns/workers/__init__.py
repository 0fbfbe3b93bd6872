"""Worker processes: several processes answer on the same ports, and one parent watches the cluster, reloads and reports for all."""
