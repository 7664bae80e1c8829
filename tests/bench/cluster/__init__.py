"""Many machines, on one: nodes as processes, a real PostgreSQL that syncs, and a real S3 server.

`make bench ARGS="--only cluster"` runs all of it.
"""

from tests.bench.cluster.actions import cluster_cancels, cluster_takeover
from tests.bench.cluster.alone import cluster_alone
from tests.bench.cluster.changes import cluster_changes
from tests.bench.cluster.files import cluster_files
from tests.bench.cluster.hosts import hosts
from tests.bench.cluster.million import cluster_million
from tests.bench.cluster.requests import cluster_status, cluster_submits
from tests.bench.cluster.workers import cluster_workers

CLUSTER = (
    cluster_submits, cluster_status, cluster_changes, cluster_cancels, cluster_takeover, cluster_million,
    cluster_files, cluster_workers, cluster_alone, hosts,
)  # fmt: skip
