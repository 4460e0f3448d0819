-- The log: the one truth. Only append() and append_resolve() write these tables.

CREATE TABLE events (
    aggregate_type text COLLATE "C" NOT NULL,
    aggregate_id   text COLLATE "C" NOT NULL,
    sequence       bigint           NOT NULL CONSTRAINT events_sequence_positive CHECK (sequence > 0),
    event_type     text COLLATE "C" NOT NULL,
    event_version  text COLLATE "C" NOT NULL,
    payload        json             NOT NULL,
    metadata       json             NOT NULL,
    position       bigint           NOT NULL CONSTRAINT events_position_unique UNIQUE,
    partition      smallint         NOT NULL,
    event_id       uuid             NOT NULL,
    recorded_at    timestamptz      NOT NULL,
    CONSTRAINT events_stream_pk PRIMARY KEY (aggregate_type, aggregate_id, sequence)
);

-- One row per committed batch, insert-only; its newest row is the head of the log.
CREATE TABLE event_batch (
    batch          bigint      NOT NULL CONSTRAINT event_batch_pk PRIMARY KEY,
    writer_id      uuid        NOT NULL,
    batch_no       bigint      NOT NULL,
    first_position bigint      NOT NULL,
    last_position  bigint      NOT NULL,
    recorded_at    timestamptz NOT NULL,
    digest         bytea       NOT NULL,
    chain          bytea       NOT NULL,
    epoch          integer     NOT NULL,
    outcomes       smallint[]  NOT NULL,
    CONSTRAINT event_batch_writer_unique UNIQUE (writer_id, batch_no)
);
CREATE INDEX event_batch_recorded_at ON event_batch (recorded_at);
CREATE INDEX event_batch_last_position ON event_batch (last_position);

CREATE TABLE log_epoch (
    epoch          integer NOT NULL CONSTRAINT log_epoch_pk PRIMARY KEY,
    first_position bigint  NOT NULL,
    chain          bytea   NOT NULL
);

INSERT INTO log_epoch VALUES (1, 1, decode(repeat('00', 32), 'hex'));
INSERT INTO event_batch
VALUES (0, '00000000-0000-0000-0000-000000000000', 0, 1, 0, clock_timestamp(),
        decode(repeat('00', 32), 'hex'), decode(repeat('00', 32), 'hex'), 1, '{}');

-- What a command with an Idempotency-Key was answered; the body is rendered from the aggregate as of last_position.
CREATE TABLE idempotency (
    key            uuid        NOT NULL CONSTRAINT idempotency_pk PRIMARY KEY,
    fingerprint    bytea       NOT NULL,
    state          text        NOT NULL CONSTRAINT idempotency_state CHECK (state IN ('running', 'done')),
    status         smallint    NOT NULL,
    problem        json,
    aggregate_type text,
    aggregate_id   text,
    version        bigint,
    last_position  bigint      NOT NULL,
    created_at     timestamptz NOT NULL
);
CREATE INDEX idempotency_created_at ON idempotency (created_at);
CREATE INDEX idempotency_running ON idempotency (aggregate_type, aggregate_id) WHERE state = 'running';

-- Something to be done at a time; written with the decision that sets it, deleted by the one that fires it.
CREATE TABLE deadline (
    deadline_id    uuid        NOT NULL CONSTRAINT deadline_pk PRIMARY KEY,
    kind           text        NOT NULL,
    aggregate_type text        NOT NULL,
    aggregate_id   text        NOT NULL,
    due_at         timestamptz NOT NULL
);
CREATE INDEX deadline_due_at ON deadline (due_at);

-- Calls to the outside that an event asked for and whose outcome is not in the log yet.
CREATE TABLE effect (
    effect_id       uuid        NOT NULL CONSTRAINT effect_pk PRIMARY KEY,
    kind            text        NOT NULL,
    aggregate_type  text        NOT NULL,
    aggregate_id    text        NOT NULL,
    correlation_id  uuid        NOT NULL,
    causation_id    uuid        NOT NULL,
    attempts        integer     NOT NULL DEFAULT 0,
    next_attempt_at timestamptz NOT NULL
);
CREATE INDEX effect_next_attempt_at ON effect (next_attempt_at);

-- Keys of people: one per subject and purpose. Destroying one erases what it sealed, in every copy of the log.
CREATE TABLE subject_key (
    key_id       uuid        NOT NULL CONSTRAINT subject_key_pk PRIMARY KEY,
    subject_id   uuid        NOT NULL,
    purpose      text        NOT NULL CONSTRAINT subject_key_purpose CHECK (purpose IN ('account', 'order')),
    wrapped      bytea,
    created_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    destroyed_at timestamptz,
    CONSTRAINT subject_key_subject_unique UNIQUE (subject_id, purpose),
    CONSTRAINT subject_key_destroyed CHECK ((wrapped IS NULL) = (destroyed_at IS NOT NULL))
);

-- Bearer secrets that a running payment needs (provider tokens); sealed, deleted with the payment's end.
CREATE TABLE sealed_secret (
    secret_id  uuid        NOT NULL CONSTRAINT sealed_secret_pk PRIMARY KEY,
    sealed     bytea       NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- How far each projection has read; written in the transaction that writes its rows.
CREATE TABLE checkpoint (
    projection text        NOT NULL,
    version    integer     NOT NULL,
    position   bigint      NOT NULL,
    status     text        NOT NULL DEFAULT 'live' CONSTRAINT checkpoint_status CHECK (status IN ('live', 'rebuilding', 'paused')),
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT checkpoint_pk PRIMARY KEY (projection)
);

-- Streams whose event a projection could not apply; later events of the stream wait behind it.
CREATE TABLE parked_event (
    projection     text        NOT NULL,
    aggregate_type text        NOT NULL,
    aggregate_id   text        NOT NULL,
    position       bigint      NOT NULL,
    error          text        NOT NULL,
    parked_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT parked_event_pk PRIMARY KEY (projection, position)
);
CREATE INDEX parked_event_stream ON parked_event (projection, aggregate_type, aggregate_id);
