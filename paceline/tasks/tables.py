"""The statements that make the file `state.db`, version by version.

The tables and column names are those of the seed's "Database Design", with these differences:

- Times are integers, milliseconds since 1970 (UTC).
- `attempts` is new: each try of a subtask, with its node, its fencing token and its outcome. So are
  `requests`, which makes commands exactly-once, and `meta`, one row: how far the log is in.
- A subtask's `dependencies` are rows of their own, by row number, so that a finished subtask finds
  its dependents in one step. `unmet` counts those not completed and `not_before` holds a retry
  back: "ready" is `status = 'pending' AND unmet = 0 AND not_before <= now`, one range of one index.
- What was asked for (`subtask_specs`) stands apart from what changes, so that a change of status
  rewrites a short row. Rows are numbered in the order of the log: what belongs together lies
  together on the disk, and a commit costs the same whatever the size of the state.
- `workers` has no `resources` and no `current_task`: the first changes with every heartbeat and
  never enters the log, the second would be a list and is asked of `attempts`.
- `cluster` and `members` are new: which cluster this is, the token that admits newcomers, and who
  was admitted, is trusted, was revoked or has left. Who votes is no business of these tables: the
  log's own membership entries say so.
"""

from typing import Final

_TABLES: Final = """
CREATE TABLE meta (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    applied_index INTEGER NOT NULL,
    applied_term INTEGER NOT NULL,
    now_ms INTEGER NOT NULL,
    last_log_id INTEGER NOT NULL,
    requests_pruned INTEGER NOT NULL,
    snapshot BLOB
);
INSERT INTO meta (id, applied_index, applied_term, now_ms, last_log_id, requests_pruned)
VALUES (1, 0, 0, 0, 0, 0);

CREATE TABLE requests (
    entry_index INTEGER PRIMARY KEY,
    request_id BLOB NOT NULL UNIQUE,
    result BLOB NOT NULL
);

CREATE TABLE users (
    user_id TEXT PRIMARY KEY,
    username TEXT NOT NULL,
    email TEXT,
    created_at INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE tasks (
    task_no INTEGER PRIMARY KEY,
    task_id TEXT NOT NULL UNIQUE,
    user_id TEXT REFERENCES users (user_id),
    idempotency_key TEXT UNIQUE,
    type TEXT NOT NULL,
    status TEXT NOT NULL,
    progress INTEGER NOT NULL,
    subtask_count INTEGER NOT NULL,
    completed_count INTEGER NOT NULL,
    open_count INTEGER NOT NULL,
    cancel_requested INTEGER NOT NULL DEFAULT 0,
    reason TEXT NOT NULL DEFAULT '',
    checkpoint_frequency TEXT NOT NULL,
    privacy_level TEXT NOT NULL,
    priority INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    started_at INTEGER,
    completed_at INTEGER,
    tool_preferences TEXT NOT NULL,
    task_metadata TEXT NOT NULL,
    repository BLOB,
    description TEXT NOT NULL
);

CREATE TABLE subtasks (
    subtask_no INTEGER PRIMARY KEY,
    subtask_id TEXT NOT NULL UNIQUE,
    task_id TEXT NOT NULL REFERENCES tasks (task_id),
    assigned_worker TEXT,
    name TEXT NOT NULL,
    status TEXT NOT NULL,
    unmet INTEGER NOT NULL,
    not_before INTEGER NOT NULL DEFAULT 0,
    task_priority INTEGER NOT NULL,
    priority INTEGER NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    failures INTEGER NOT NULL DEFAULT 0,
    losses INTEGER NOT NULL DEFAULT 0,
    deferrals INTEGER NOT NULL DEFAULT 0,
    max_attempts INTEGER NOT NULL,
    cancel_requested INTEGER NOT NULL DEFAULT 0,
    recommended_tool TEXT NOT NULL,
    complexity INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    assigned_at INTEGER,
    completed_at INTEGER,
    result TEXT,
    reason TEXT NOT NULL DEFAULT '',
    description TEXT NOT NULL
);

CREATE TABLE subtask_specs (
    subtask_no INTEGER PRIMARY KEY,
    spec BLOB NOT NULL
);

CREATE TABLE dependencies (
    needs_no INTEGER NOT NULL,
    subtask_no INTEGER NOT NULL,
    PRIMARY KEY (needs_no, subtask_no)
) WITHOUT ROWID;

CREATE TABLE attempts (
    attempt_no INTEGER PRIMARY KEY,
    subtask_no INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    node_id TEXT NOT NULL,
    tool TEXT NOT NULL,
    status TEXT NOT NULL,
    token INTEGER NOT NULL,
    score REAL NOT NULL,
    allocated_at INTEGER NOT NULL,
    started_at INTEGER,
    finished_at INTEGER,
    result_status TEXT,
    reason TEXT NOT NULL DEFAULT '',
    text TEXT NOT NULL DEFAULT '',
    output BLOB,
    exit_code INTEGER,
    usage TEXT,
    cost_usd REAL,
    duration_ms INTEGER,
    log_tail TEXT NOT NULL DEFAULT '',
    session TEXT NOT NULL DEFAULT '',
    retryable_after_ms INTEGER,
    details TEXT,
    UNIQUE (subtask_no, attempt)
);

CREATE TABLE workers (
    worker_id TEXT PRIMARY KEY,
    machine_id TEXT NOT NULL UNIQUE,
    machine_name TEXT NOT NULL,
    address TEXT NOT NULL,
    status TEXT NOT NULL,
    drain INTEGER NOT NULL DEFAULT 0,
    reason TEXT NOT NULL DEFAULT '',
    slots INTEGER NOT NULL,
    version TEXT NOT NULL,
    labels TEXT NOT NULL,
    system_info TEXT NOT NULL,
    available_tools TEXT NOT NULL,
    registered_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    last_heartbeat INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE checkpoints (
    checkpoint_id TEXT PRIMARY KEY,
    task_id TEXT NOT NULL REFERENCES tasks (task_id),
    subtask_id TEXT REFERENCES subtasks (subtask_id),
    checkpoint_type TEXT NOT NULL,
    status TEXT NOT NULL,
    triggered_by TEXT NOT NULL,
    checkpoint_data TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    resolved_at INTEGER
) WITHOUT ROWID;

CREATE TABLE corrections (
    correction_id TEXT PRIMARY KEY,
    checkpoint_id TEXT NOT NULL REFERENCES checkpoints (checkpoint_id),
    feedback TEXT NOT NULL,
    corrective_action TEXT NOT NULL,
    created_at INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE evaluations (
    evaluation_id TEXT PRIMARY KEY,
    subtask_id TEXT NOT NULL REFERENCES subtasks (subtask_id),
    overall_score REAL NOT NULL,
    dimension_scores TEXT NOT NULL,
    details TEXT NOT NULL,
    needs_checkpoint INTEGER NOT NULL,
    created_at INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE activity_logs (
    log_id INTEGER PRIMARY KEY,
    task_id TEXT,
    subtask_id TEXT,
    worker_id TEXT,
    action TEXT NOT NULL,
    details TEXT NOT NULL,
    timestamp INTEGER NOT NULL
);
"""

_INDEXES: Final = """
CREATE INDEX tasks_by_status ON tasks (status, created_at);
CREATE INDEX subtasks_by_task ON subtasks (task_id, status);
CREATE INDEX subtasks_by_worker ON subtasks (assigned_worker, status);
CREATE INDEX workers_by_status ON workers (status, last_heartbeat);
CREATE INDEX checkpoints_by_task ON checkpoints (task_id, status);
CREATE INDEX activity_logs_by_task ON activity_logs (task_id, timestamp);

CREATE INDEX tasks_by_age ON tasks (created_at);
CREATE INDEX subtasks_ready
    ON subtasks (not_before, task_priority DESC, priority DESC, subtask_no)
    WHERE status = 'pending' AND unmet = 0;
CREATE INDEX dependencies_by_subtask ON dependencies (subtask_no, needs_no);
CREATE INDEX attempts_active ON attempts (node_id) WHERE finished_at IS NULL;
CREATE INDEX evaluations_by_subtask ON evaluations (subtask_id, created_at);
CREATE INDEX corrections_by_checkpoint ON corrections (checkpoint_id);
"""

_MEMBERSHIP: Final = """
CREATE TABLE cluster (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    cluster_id TEXT NOT NULL,
    token TEXT NOT NULL,
    token_version INTEGER NOT NULL,
    approve INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    recovered_at INTEGER
);

CREATE TABLE members (
    node_id TEXT PRIMARY KEY,
    public_key BLOB NOT NULL,
    name TEXT NOT NULL,
    status TEXT NOT NULL,
    trusted INTEGER NOT NULL,
    admitted_at INTEGER,
    admitted_by TEXT NOT NULL,
    ended_at INTEGER,
    ended_by TEXT NOT NULL DEFAULT '',
    reason TEXT NOT NULL DEFAULT ''
) WITHOUT ROWID;
"""
"""Who belongs, since version 2. `cluster` has one row once the cluster is founded."""

_CHANGES: Final = """
CREATE TABLE changes (
    attempt_no INTEGER PRIMARY KEY,
    change BLOB NOT NULL
);
"""
"""What an attempt did to its repository, where it did anything. `change` is a RepositoryChange."""

_MONEY: Final = """
CREATE TABLE task_budgets (
    task_id TEXT PRIMARY KEY,
    budget_usd REAL NOT NULL
) WITHOUT ROWID;

CREATE INDEX attempts_by_cost ON attempts (finished_at, node_id, cost_usd)
    WHERE cost_usd IS NOT NULL;
CREATE INDEX attempts_limited ON attempts (finished_at) WHERE result_status = 'quota';
"""
"""What tasks may cost, and two ways into `attempts`: what cost something, what hit a limit."""

_QUALITY: Final = """
CREATE TABLE quality (
    subtask_no INTEGER PRIMARY KEY,
    author_attempt INTEGER NOT NULL DEFAULT 0,
    cycles INTEGER NOT NULL DEFAULT 0,
    unusable INTEGER NOT NULL DEFAULT 0,
    retried INTEGER NOT NULL DEFAULT 0,
    start TEXT NOT NULL DEFAULT '',
    feedback TEXT NOT NULL DEFAULT '',
    continues INTEGER NOT NULL DEFAULT 0,
    avoid_tool TEXT NOT NULL DEFAULT ''
);

CREATE TABLE reviews (
    subtask_no INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    author_attempt INTEGER NOT NULL,
    cycle INTEGER NOT NULL,
    verdict TEXT NOT NULL DEFAULT '',
    summary TEXT NOT NULL DEFAULT '',
    findings TEXT NOT NULL DEFAULT '[]',
    created_at INTEGER NOT NULL,
    finished_at INTEGER,
    PRIMARY KEY (subtask_no, attempt)
) WITHOUT ROWID;

CREATE INDEX subtasks_in_review ON subtasks (not_before, subtask_no) WHERE status = 'review';
CREATE INDEX checkpoints_pending ON checkpoints (created_at) WHERE status = 'pending';
"""
"""`quality` has a row for each subtask whose work was judged: whose attempt's work counts now, at
which commit that began (`start`), how often it was sent back, and what the next attempt is to know:
`feedback`, and whose work it `continues` (0 = from the beginning). `reviews` says which attempts
look at another's work."""

_CONTROL: Final = """
ALTER TABLE tasks ADD COLUMN paused INTEGER NOT NULL DEFAULT 0;
ALTER TABLE tasks ADD COLUMN deadline INTEGER;
ALTER TABLE tasks ADD COLUMN overdue INTEGER NOT NULL DEFAULT 0;
ALTER TABLE subtasks ADD COLUMN start_limit INTEGER;
ALTER TABLE workers ADD COLUMN drain_until INTEGER;

CREATE INDEX tasks_due ON tasks (deadline) WHERE deadline IS NOT NULL AND open_count > 0;
CREATE INDEX subtasks_start_limited ON subtasks (subtask_no)
    WHERE start_limit IS NOT NULL AND status = 'pending' AND unmet = 0;
"""
"""`overdue`: its end was asked for because its deadline passed. `start_limit`: milliseconds that it
may be ready without being given out. `drain_until`: when a node that drains gives back what it
still has."""

_EXTERNAL: Final = """
CREATE TABLE external_workers (
    worker_id TEXT PRIMARY KEY,
    via TEXT NOT NULL,
    attached_index INTEGER NOT NULL
) WITHOUT ROWID;
"""
"""Workers that are no nodes: which node speaks for each, and since which entry of the log."""

_FOREACH: Final = """
ALTER TABLE subtasks ADD COLUMN foreach_no INTEGER;
CREATE INDEX subtasks_to_expand ON subtasks (subtask_no)
    WHERE foreach_no IS NOT NULL AND status = 'pending' AND unmet = 0;
"""
"""`foreach_no`: the subtask that lists the items of this one, as long as it is not expanded."""

_RECALL: Final = """
ALTER TABLE attempts ADD COLUMN recalled TEXT NOT NULL DEFAULT '';
"""
"""Why the leader wants an attempt back from a worker that still has it."""

MIGRATIONS: Final[tuple[str, ...]] = (
    _TABLES + _INDEXES,
    _MEMBERSHIP,
    _CHANGES,
    _MONEY,
    _QUALITY,
    _CONTROL,
    _EXTERNAL,
    _FOREACH,
    _RECALL,
)
"""The n-th takes a file from version n to n + 1. They are only ever added to, and change nothing
that the digest covers other than by adding to it in the same release."""
