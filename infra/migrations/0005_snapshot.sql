-- States of long-lived aggregates, so that loading one does not read its whole stream. A cache: whoever reads one folds the
-- events after it, and deleting all of them costs time and nothing else. `fingerprint` is that of the rules that folded it.
CREATE TABLE snapshot (
    aggregate_type text COLLATE "C" NOT NULL,
    aggregate_id   text COLLATE "C" NOT NULL,
    version        bigint           NOT NULL,
    position       bigint           NOT NULL,
    fingerprint    text             NOT NULL,
    state          json             NOT NULL,
    CONSTRAINT snapshot_pk PRIMARY KEY (aggregate_type, aggregate_id, version)
);
