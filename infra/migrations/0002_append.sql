-- append(): lands a batch of commands, one round trip, one commit.
--
-- Takes the log's advisory lock as its own first statement, so that every later statement has a snapshot that sees
-- all that was committed before it. Outcomes per command: 0 landed, 1 conflict, 2 replayed, 3 key reused, 4 confirmed.
-- The arrays of a group (cmd_*, at_*, ev_*, dl_*) run in parallel; *_cmd is the 1-based command that an entry belongs to,
-- and events stand in the order of their commands. at_* names every stream that a command was decided on, written or
-- only read, with the version it had then.
CREATE FUNCTION append(
    p_writer_id uuid, p_batch_no bigint,
    cmd_key uuid[], cmd_fingerprint bytea[], cmd_state text[], cmd_status smallint[], cmd_problem text[],
    cmd_aggregate_type text[], cmd_aggregate_id text[], cmd_version bigint[], cmd_completes uuid[], cmd_events_end int[],
    at_cmd int[], at_type text[], at_id text[], at_version bigint[],
    ev_cmd int[], ev_type text[], ev_id text[], ev_sequence bigint[], ev_event_id uuid[], ev_event_type text[],
    ev_event_version text[], ev_payload text[], ev_metadata text[], ev_partition smallint[], ev_digest bytea[],
    dl_cmd int[], dl_id uuid[], dl_kind text[], dl_type text[], dl_aggregate text[], dl_due timestamptz[],
    OUT o_epoch int, OUT o_batch bigint, OUT o_first_position bigint, OUT o_last_position bigint,
    OUT o_recorded_at timestamptz, OUT o_outcomes smallint[])
LANGUAGE plpgsql VOLATILE
SET enable_seqscan = off
AS $$
DECLARE
    head       event_batch%ROWTYPE;
    commands   int := cardinality(cmd_state);
    landed     int[] := '{}';
    known      idempotency%ROWTYPE;
    next       bigint;
    added      int;
    batch_hash bytea;
BEGIN
    PERFORM pg_advisory_xact_lock(4919131752989213764);

    IF EXISTS (SELECT FROM event_batch WHERE writer_id = p_writer_id AND batch_no = p_batch_no) THEN
        RAISE EXCEPTION 'batch % of this writer is already resolved', p_batch_no USING ERRCODE = 'DB001';
    END IF;
    SELECT * INTO head FROM event_batch ORDER BY batch DESC LIMIT 1;
    o_epoch := head.epoch;
    o_batch := head.batch + 1;
    o_first_position := head.last_position + 1;
    o_recorded_at := greatest(clock_timestamp(), head.recorded_at + interval '1 microsecond');

    BEGIN -- everything at once; a violation undoes it all and takes the loop below
        IF EXISTS (
            SELECT FROM (SELECT t, i, min(v) AS base FROM unnest(at_type, at_id, at_version) AS a(t, i, v) GROUP BY t, i) s
            WHERE base > 0 AND base IS DISTINCT FROM
                  (SELECT e.sequence FROM events e WHERE e.aggregate_type = s.t AND e.aggregate_id = s.i
                   ORDER BY e.sequence DESC LIMIT 1))
           OR EXISTS ( -- a stream that was read as absent and is not written by anyone here must still be absent
            SELECT FROM unnest(at_type, at_id, at_version) AS a(t, i, v)
            WHERE v = 0 AND EXISTS (SELECT FROM events e WHERE e.aggregate_type = a.t AND e.aggregate_id = a.i AND e.sequence = 1))
        THEN
            RAISE unique_violation;
        END IF;
        INSERT INTO events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata,
                            position, partition, event_id, recorded_at)
        SELECT t, i, s, et, ev, p::json, m::json, head.last_position + n, pa, id, o_recorded_at
        FROM unnest(ev_type, ev_id, ev_sequence, ev_event_type, ev_event_version, ev_payload, ev_metadata, ev_partition,
                    ev_event_id) WITH ORDINALITY AS e(t, i, s, et, ev, p, m, pa, id, n);
        INSERT INTO idempotency (key, fingerprint, state, status, problem, aggregate_type, aggregate_id, version,
                                 last_position, created_at)
        SELECT k, f, st, su, p::json, t, i, v, head.last_position + n, o_recorded_at
        FROM unnest(cmd_key, cmd_fingerprint, cmd_state, cmd_status, cmd_problem, cmd_aggregate_type, cmd_aggregate_id,
                    cmd_version, cmd_events_end) AS c(k, f, st, su, p, t, i, v, n)
        WHERE k IS NOT NULL;
        o_outcomes := ARRAY(
            SELECT (CASE WHEN n > lag(n, 1, 0) OVER (ORDER BY c) THEN 0 ELSE 4 END)::smallint
            FROM unnest(cmd_events_end) WITH ORDINALITY AS x(n, c) ORDER BY c);
        o_last_position := head.last_position + coalesce(cmd_events_end[commands], 0);
        landed := ARRAY(SELECT generate_series(1, commands));
    EXCEPTION WHEN unique_violation THEN
        o_outcomes := '{}';
        o_last_position := NULL;
    END;

    IF o_last_position IS NULL THEN
        next := head.last_position;
        landed := '{}';
        FOR c IN 1 .. commands LOOP
            IF cmd_key[c] IS NOT NULL THEN
                SELECT * INTO known FROM idempotency WHERE key = cmd_key[c];
                IF FOUND THEN
                    o_outcomes := o_outcomes || (CASE WHEN known.fingerprint = cmd_fingerprint[c] THEN 2 ELSE 3 END)::smallint;
                    CONTINUE;
                END IF;
            END IF;
            IF EXISTS (
                SELECT FROM unnest(at_cmd, at_type, at_id, at_version) AS a(c2, t, i, v)
                WHERE c2 = c AND v IS DISTINCT FROM coalesce(
                    (SELECT e.sequence FROM events e WHERE e.aggregate_type = a.t AND e.aggregate_id = a.i
                     ORDER BY e.sequence DESC LIMIT 1), 0))
            THEN
                o_outcomes := o_outcomes || 1::smallint;
                CONTINUE;
            END IF;
            INSERT INTO events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata,
                                position, partition, event_id, recorded_at)
            SELECT t, i, s, et, ev, p::json, m::json, next + row_number() OVER (ORDER BY n), pa, id, o_recorded_at
            FROM unnest(ev_cmd, ev_type, ev_id, ev_sequence, ev_event_type, ev_event_version, ev_payload, ev_metadata,
                        ev_partition, ev_event_id) WITH ORDINALITY AS e(c2, t, i, s, et, ev, p, m, pa, id, n)
            WHERE c2 = c;
            GET DIAGNOSTICS added = ROW_COUNT;
            next := next + added;
            IF cmd_key[c] IS NOT NULL THEN
                INSERT INTO idempotency (key, fingerprint, state, status, problem, aggregate_type, aggregate_id, version,
                                         last_position, created_at)
                VALUES (cmd_key[c], cmd_fingerprint[c], cmd_state[c], cmd_status[c], cmd_problem[c]::json,
                        cmd_aggregate_type[c], cmd_aggregate_id[c], cmd_version[c], next, o_recorded_at);
            END IF;
            o_outcomes := o_outcomes || (CASE WHEN added > 0 THEN 0 ELSE 4 END)::smallint;
            landed := landed || c;
        END LOOP;
        o_last_position := next;
    END IF;

    UPDATE idempotency k SET state = 'done', last_position = o_last_position
    FROM unnest(cmd_completes) WITH ORDINALITY AS d(key, c)
    WHERE k.key = d.key AND d.c = ANY (landed);
    INSERT INTO deadline (deadline_id, kind, aggregate_type, aggregate_id, due_at)
    SELECT id, k, t, a, d FROM unnest(dl_cmd, dl_id, dl_kind, dl_type, dl_aggregate, dl_due) AS x(c, id, k, t, a, d)
    WHERE c = ANY (landed);

    SELECT sha256(coalesce(string_agg(d, ''::bytea ORDER BY n), ''::bytea)) INTO batch_hash
    FROM unnest(ev_cmd, ev_digest) WITH ORDINALITY AS e(c, d, n) WHERE c = ANY (landed);
    INSERT INTO event_batch (batch, writer_id, batch_no, first_position, last_position, recorded_at, digest, chain, epoch, outcomes)
    VALUES (o_batch, p_writer_id, p_batch_no, o_first_position, o_last_position, o_recorded_at, batch_hash,
            sha256(head.chain || batch_hash || int8send(o_first_position) || int8send(o_last_position)), o_epoch, o_outcomes);
END
$$;

-- append_resolve(): what became of a batch whose answer was lost. Absent: a void row is written that refuses it when it
-- arrives late, and o_outcomes is empty.
CREATE FUNCTION append_resolve(
    p_writer_id uuid, p_batch_no bigint,
    OUT o_epoch int, OUT o_batch bigint, OUT o_first_position bigint, OUT o_last_position bigint,
    OUT o_recorded_at timestamptz, OUT o_outcomes smallint[])
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    head       event_batch%ROWTYPE;
    empty_hash bytea := sha256(''::bytea);
BEGIN
    PERFORM pg_advisory_xact_lock(4919131752989213764);
    SELECT epoch, batch, first_position, last_position, recorded_at, outcomes
    INTO o_epoch, o_batch, o_first_position, o_last_position, o_recorded_at, o_outcomes
    FROM event_batch WHERE writer_id = p_writer_id AND batch_no = p_batch_no;
    IF FOUND THEN
        RETURN;
    END IF;
    SELECT * INTO head FROM event_batch ORDER BY batch DESC LIMIT 1;
    o_epoch := head.epoch;
    o_batch := head.batch + 1;
    o_first_position := head.last_position + 1;
    o_last_position := head.last_position;
    o_recorded_at := greatest(clock_timestamp(), head.recorded_at + interval '1 microsecond');
    o_outcomes := '{}';
    INSERT INTO event_batch (batch, writer_id, batch_no, first_position, last_position, recorded_at, digest, chain, epoch, outcomes)
    VALUES (o_batch, p_writer_id, p_batch_no, o_first_position, o_last_position, o_recorded_at, empty_hash,
            sha256(head.chain || empty_hash || int8send(o_first_position) || int8send(o_last_position)), o_epoch, '{}');
END
$$;
