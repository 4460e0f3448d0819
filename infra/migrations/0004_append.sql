-- append(), faster: the same signature and outcomes as in 0002. A statement that has nothing to do is not run, and the happy
-- path builds no lists of what landed. at_* may leave out a stream whose next event the same command writes, if it begins there
-- or its version is known to have landed: should there be such an event already, it clashes. Plans are made once: one for the
-- arrays at hand would be made at every call, and takes longer than the batch.
CREATE OR REPLACE FUNCTION append(
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
SET plan_cache_mode = force_generic_plan
AS $$
DECLARE
    head       event_batch%ROWTYPE;
    commands   int := cardinality(cmd_state);
    has_keys   boolean := cardinality(array_remove(cmd_key, NULL)) > 0;
    landed     int[];
    known      idempotency%ROWTYPE;
    next       bigint;
    added      int;
    batch_hash bytea;
BEGIN
    PERFORM pg_advisory_xact_lock(4919131752989213764);

    SELECT * INTO head FROM event_batch ORDER BY batch DESC LIMIT 1;
    o_epoch := head.epoch;
    o_batch := head.batch + 1;
    o_first_position := head.last_position + 1;
    o_recorded_at := greatest(clock_timestamp(), head.recorded_at + interval '1 microsecond');

    BEGIN -- everything at once; a violation undoes it all and takes the loop below
        -- The event that a command was decided on must be there and the next one must not: two probes of one entry each. Where
        -- this batch writes the next one itself, the insertion is the second probe. (OFFSET and LIMIT: one probe, one time; the
        -- planner may neither split the condition nor read the whole table into a hash.)
        IF cardinality(at_cmd) > 0 THEN
            IF EXISTS (
                SELECT FROM (
                    SELECT a.t, a.i, base, b.q AS next
                    FROM (SELECT t, i, min(v) AS base FROM unnest(at_type, at_id, at_version) AS x(t, i, v) GROUP BY t, i) a
                    LEFT JOIN unnest(ev_type, ev_id, ev_sequence) AS b(t, i, q) ON b.t = a.t AND b.i = a.i AND b.q = base + 1
                    OFFSET 0) s
                WHERE (base > 0
                       AND (SELECT e.sequence FROM events e
                            WHERE e.aggregate_type = s.t AND e.aggregate_id = s.i AND e.sequence = base LIMIT 1) IS NULL
                       -- A stream that begins in this batch is asserted from its first event on.
                       AND NOT EXISTS (SELECT FROM unnest(ev_type, ev_id, ev_sequence) AS c(t, i, q)
                                       WHERE c.t = s.t AND c.i = s.i AND c.q = base))
                   OR (s.next IS NULL
                       AND (SELECT e.sequence FROM events e
                            WHERE e.aggregate_type = s.t AND e.aggregate_id = s.i AND e.sequence = base + 1 LIMIT 1) IS NOT NULL))
            THEN
                RAISE unique_violation;
            END IF;
        END IF;
        IF cardinality(ev_cmd) > 0 THEN
            INSERT INTO events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata,
                                position, partition, event_id, recorded_at)
            SELECT t, i, s, et, ev, p::json, m::json, head.last_position + n, pa, id, o_recorded_at
            FROM unnest(ev_type, ev_id, ev_sequence, ev_event_type, ev_event_version, ev_payload, ev_metadata, ev_partition,
                        ev_event_id) WITH ORDINALITY AS e(t, i, s, et, ev, p, m, pa, id, n);
        END IF;
        IF has_keys THEN
            INSERT INTO idempotency (key, fingerprint, state, status, problem, aggregate_type, aggregate_id, version,
                                     last_position, created_at)
            SELECT k, f, st, su, p::json, t, i, v, head.last_position + n, o_recorded_at
            FROM unnest(cmd_key, cmd_fingerprint, cmd_state, cmd_status, cmd_problem, cmd_aggregate_type, cmd_aggregate_id,
                        cmd_version, cmd_events_end) AS c(k, f, st, su, p, t, i, v, n)
            WHERE k IS NOT NULL;
        END IF;
        o_last_position := head.last_position + coalesce(cmd_events_end[commands], 0);
    EXCEPTION WHEN unique_violation THEN
        o_last_position := NULL;
    END;

    IF o_last_position IS NOT NULL THEN
        SELECT coalesce(array_agg((CASE WHEN n > coalesce(cmd_events_end[c - 1], 0) THEN 0 ELSE 4 END)::smallint ORDER BY c), '{}')
        INTO o_outcomes FROM unnest(cmd_events_end) WITH ORDINALITY AS x(n, c);
        SELECT sha256(coalesce(string_agg(d, ''::bytea ORDER BY n), ''::bytea)) INTO batch_hash
        FROM unnest(ev_digest) WITH ORDINALITY AS e(d, n);
    ELSE
        next := head.last_position;
        landed := '{}';
        o_outcomes := '{}';
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
               OR EXISTS (
                SELECT FROM unnest(ev_cmd, ev_type, ev_id, ev_sequence) AS b(c2, t, i, s)
                WHERE c2 = c AND EXISTS (SELECT FROM events e
                                         WHERE e.aggregate_type = b.t AND e.aggregate_id = b.i AND e.sequence = b.s))
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
        SELECT sha256(coalesce(string_agg(d, ''::bytea ORDER BY n), ''::bytea)) INTO batch_hash
        FROM unnest(ev_cmd, ev_digest) WITH ORDINALITY AS e(c, d, n) WHERE c = ANY (landed);
    END IF;

    IF cardinality(array_remove(cmd_completes, NULL)) > 0 THEN
        UPDATE idempotency k SET state = 'done', last_position = o_last_position
        FROM unnest(cmd_completes) WITH ORDINALITY AS d(key, c)
        WHERE k.key = d.key AND (landed IS NULL OR d.c = ANY (landed));
    END IF;
    IF cardinality(dl_cmd) > 0 THEN
        INSERT INTO deadline (deadline_id, kind, aggregate_type, aggregate_id, due_at)
        SELECT id, k, t, a, d FROM unnest(dl_cmd, dl_id, dl_kind, dl_type, dl_aggregate, dl_due) AS x(c, id, k, t, a, d)
        WHERE landed IS NULL OR c = ANY (landed);
    END IF;

    -- A batch of this writer and number that is resolved already clashes here, and undoes everything.
    INSERT INTO event_batch (batch, writer_id, batch_no, first_position, last_position, recorded_at, digest, chain, epoch, outcomes)
    VALUES (o_batch, p_writer_id, p_batch_no, o_first_position, o_last_position, o_recorded_at, batch_hash,
            sha256(head.chain || batch_hash || int8send(o_first_position) || int8send(o_last_position)), o_epoch, o_outcomes);
END
$$;

-- An order's event is large enough to be compressed; lz4 takes less of the append's time than pglz. Not every server has it.
DO $$
BEGIN
    ALTER TABLE events ALTER COLUMN payload SET COMPRESSION lz4;
EXCEPTION WHEN feature_not_supported THEN
    NULL;
END
$$;
