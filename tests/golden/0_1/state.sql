PRAGMA application_id = 1348553777;
PRAGMA user_version = 1;
BEGIN TRANSACTION;
CREATE TABLE activity_logs (
    log_id INTEGER PRIMARY KEY,
    task_id TEXT,
    subtask_id TEXT,
    worker_id TEXT,
    action TEXT NOT NULL,
    details TEXT NOT NULL,
    timestamp INTEGER NOT NULL
);
INSERT INTO "activity_logs" VALUES(1,NULL,NULL,'aaaaaaaaaaaaaaaaaaaaaaaaaa','worker_registered','{"name":"élan","tools":["command","ollama"]}',1700000000001);
INSERT INTO "activity_logs" VALUES(2,'task-1',NULL,NULL,'task_pending','{"submitted_by":"ann","subtasks":2,"type":"plan"}',1700000000002);
INSERT INTO "activity_logs" VALUES(3,'task-1',NULL,NULL,'task_initializing','{"from":"pending"}',1700000000002);
INSERT INTO "activity_logs" VALUES(4,'task-1',NULL,NULL,'task_in_progress','{"from":"initializing"}',1700000000002);
INSERT INTO "activity_logs" VALUES(5,'task-1','task-1-build','aaaaaaaaaaaaaaaaaaaaaaaaaa','subtask_allocated','{"attempt":1,"attempt_status":"allocated","from":"pending","score":8.25,"token":5,"tool":"command"}',1700000000003);
INSERT INTO "activity_logs" VALUES(6,'task-1','task-1-build','aaaaaaaaaaaaaaaaaaaaaaaaaa','subtask_in_progress','{"attempt":1,"attempt_status":"running","from":"allocated","token":5}',1700000000004);
INSERT INTO "activity_logs" VALUES(7,'task-1','task-1-build','aaaaaaaaaaaaaaaaaaaaaaaaaa','subtask_completed','{"attempt":1,"attempt_status":"succeeded","from":"in_progress","token":5}',1700000000005);
INSERT INTO "activity_logs" VALUES(8,'task-1',NULL,NULL,'task_cancelling','{"reason":"no longer wanted"}',1700000000007);
INSERT INTO "activity_logs" VALUES(9,'task-1','task-1-check',NULL,'subtask_cancelled','{"from":"pending","reason":"no longer wanted"}',1700000000007);
INSERT INTO "activity_logs" VALUES(10,'task-1',NULL,NULL,'task_cancelled','{"from":"in_progress"}',1700000000007);
INSERT INTO "activity_logs" VALUES(11,NULL,NULL,'aaaaaaaaaaaaaaaaaaaaaaaaaa','worker_draining','{"from":"online","reason":"maintenance"}',1700000000009);
INSERT INTO "activity_logs" VALUES(12,NULL,NULL,'aaaaaaaaaaaaaaaaaaaaaaaaaa','worker_forgotten','{}',1700000000010);
INSERT INTO "activity_logs" VALUES(13,NULL,NULL,'aaaaaaaaaaaaaaaaaaaaaaaaaa','worker_registered','{"name":"élan","tools":["command","ollama"]}',1700000000011);
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
INSERT INTO "attempts" VALUES(1,1,1,'aaaaaaaaaaaaaaaaaaaaaaaaaa','command','succeeded',5,8.25,1700000000003,1700000000004,1700000000005,'ok','','done',X'92C40600627974657393D94061626162616261626162616261626162616261626162616261626162616261626162616261626162616261626162616261626162616261626162616261626162CD303992BA6161616161616161616161616161616161616161616161616161BA6262626262626262626262626262626262626262626262626262',0,'{"input_tokens":12}',0.25,1500,'the end','s-1',60000,'{"branch":"paceline/1"}');
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
CREATE TABLE dependencies (
    needs_no INTEGER NOT NULL,
    subtask_no INTEGER NOT NULL,
    PRIMARY KEY (needs_no, subtask_no)
) WITHOUT ROWID;
INSERT INTO "dependencies" VALUES(1,2);
CREATE TABLE evaluations (
    evaluation_id TEXT PRIMARY KEY,
    subtask_id TEXT NOT NULL REFERENCES subtasks (subtask_id),
    overall_score REAL NOT NULL,
    dimension_scores TEXT NOT NULL,
    details TEXT NOT NULL,
    needs_checkpoint INTEGER NOT NULL,
    created_at INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE meta (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    applied_index INTEGER NOT NULL,
    applied_term INTEGER NOT NULL,
    now_ms INTEGER NOT NULL,
    last_log_id INTEGER NOT NULL,
    requests_pruned INTEGER NOT NULL,
    snapshot BLOB
);
INSERT INTO "meta" VALUES(1,13,3,1700000000011,13,0,NULL);
CREATE TABLE requests (
    entry_index INTEGER PRIMARY KEY,
    request_id BLOB NOT NULL UNIQUE,
    result BLOB NOT NULL
);
INSERT INTO "requests" VALUES(3,X'00000000000000000000000000000001',X'91C3');
INSERT INTO "requests" VALUES(4,X'00000000000000000000000000000002',X'91A67461736B2D31');
INSERT INTO "requests" VALUES(5,X'00000000000000000000000000000003',X'9182A9616C6C6F636174656401A4766F696490');
INSERT INTO "requests" VALUES(6,X'00000000000000000000000000000004',X'9101');
INSERT INTO "requests" VALUES(7,X'00000000000000000000000000000005',X'91C3');
INSERT INTO "requests" VALUES(8,X'00000000000000000000000000000006',X'9100');
INSERT INTO "requests" VALUES(9,X'00000000000000000000000000000007',X'91A963616E63656C6C6564');
INSERT INTO "requests" VALUES(10,X'00000000000000000000000000000008',X'92A8436F6E666C696374D9377375627461736B207461736B2D312D6275696C6420697320636F6D706C657465643A206E6F7468696E6720746F2074727920616761696E');
INSERT INTO "requests" VALUES(11,X'00000000000000000000000000000009',X'91A8647261696E696E67');
INSERT INTO "requests" VALUES(12,X'0000000000000000000000000000000A',X'91C3');
INSERT INTO "requests" VALUES(13,X'0000000000000000000000000000000B',X'91C3');
CREATE TABLE subtask_specs (
    subtask_no INTEGER PRIMARY KEY,
    spec BLOB NOT NULL
);
INSERT INTO "subtask_specs" VALUES(1,X'9EAC7461736B2D312D6275696C64A56275696C6492A7636F6D6D616E64A66F6C6C616D6190A84275696C64206974AD4275696C642069742077656C6CA46D616B653C02CB4056A000000000000281A26F73A56C696E7578A973656E73697469766582A56D6F64656CA5736D616C6CA66C696D6974739401CB4004000000000000C0C3');
INSERT INTO "subtask_specs" VALUES(2,X'9EAC7461736B2D312D636865636BA5636865636B91A7636F6D6D616E6491A56275696C64A0A0A03201CB40AC2000000000000380C080');
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
INSERT INTO "subtasks" VALUES(1,'task-1-build','task-1','aaaaaaaaaaaaaaaaaaaaaaaaaa','build','completed',0,0,70,60,1,0,0,0,2,0,'command',2,1700000000002,1700000000005,1700000000003,1700000000005,'{"attempt":1,"cost_usd":0.25,"duration_ms":1500,"exit_code":0,"output_bytes":12345,"status":"ok"}','','Build it');
INSERT INTO "subtasks" VALUES(2,'task-1-check','task-1',NULL,'check','cancelled',0,0,70,50,0,0,0,0,3,0,'command',1,1700000000002,1700000000007,NULL,1700000000007,NULL,'no longer wanted','');
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
INSERT INTO "tasks" VALUES(4,'task-1','ann','key-1','plan','cancelled',50,2,1,0,1,'no longer wanted','low','normal',70,1700000000002,1700000000007,1700000000002,1700000000007,'["command"]','{"ticket":17}',X'94AE2F686F6D652F616E6E2F776F726BA46D61696ED9286330666665656330666665656330666665656330666665656330666665656330666665656265656693D94061626162616261626162616261626162616261626162616261626162616261626162616261626162616261626162616261626162616261626162616261626162CD303992BA6161616161616161616161616161616161616161616161616161BA6262626262626262626262626262626262626262626262626262','Make it work');
CREATE TABLE users (
    user_id TEXT PRIMARY KEY,
    username TEXT NOT NULL,
    email TEXT,
    created_at INTEGER NOT NULL
) WITHOUT ROWID;
INSERT INTO "users" VALUES('ann','ann',NULL,1700000000002);
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
INSERT INTO "workers" VALUES('aaaaaaaaaaaaaaaaaaaaaaaaaa','aaaaaaaaaaaaaaaaaaaaaaaaaa','élan','192.0.2.7:7171','online',0,'',4,'0.1.0','{"os":"linux"}','{"system":"Linux"}','[{"healthy":true,"name":"command","reason":"","slots":4,"version":"5.2"},{"healthy":false,"name":"ollama","reason":"not found","slots":0,"version":""}]',1700000000011,1700000000011,1700000000011);
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
COMMIT;
