-- append_whole(), faster: the same signature, checks, rows and chain as in 0007. Rows come from set-returning functions side by
-- side, which hand on each value where it stands; as a table in FROM they would be copied row by row, twice. The lock is taken by
-- an expression, without a query's start and end.
CREATE OR REPLACE FUNCTION append_whole(
    p_writer_id uuid, p_batch_no bigint, p_outcomes smallint[], p_digest bytea,
    key_id uuid[], key_fingerprint bytea[], key_state text[], key_status smallint[], key_problem text[],
    key_aggregate_type text[], key_aggregate_id text[], key_version bigint[], key_events_end int[], completes uuid[],
    at_type text[], at_id text[], at_version bigint[],
    ev_type text[], ev_id text[], ev_sequence bigint[], ev_event_id uuid[], ev_event_type text[], ev_event_version text[],
    ev_payload json[], ev_metadata json[], ev_partition smallint[],
    dl_id uuid[], dl_kind text[], dl_type text[], dl_aggregate text[], dl_due timestamptz[],
    OUT o_epoch int, OUT o_batch bigint, OUT o_first_position bigint, OUT o_last_position bigint, OUT o_recorded_at timestamptz)
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    head   event_batch%ROWTYPE;
    added  int := cardinality(ev_sequence);
    locked text;
BEGIN
    IF 1 > ANY (ev_sequence) THEN
        RAISE check_violation USING MESSAGE = 'the sequence of an event begins with 1';
    END IF;
    locked := pg_advisory_xact_lock(4919131752989213764);

    SELECT * INTO head FROM event_batch ORDER BY batch DESC LIMIT 1;
    o_epoch := head.epoch;
    o_batch := head.batch + 1;
    o_first_position := head.last_position + 1;
    o_last_position := head.last_position + added;
    o_recorded_at := greatest(clock_timestamp(), head.recorded_at + interval '1 microsecond');

    -- As in append(): the event that a command was decided on must be there, and the next one must not.
    IF cardinality(at_type) > 0 THEN
        IF EXISTS (
            SELECT FROM (
                SELECT a.t, a.i, base, b.q AS next
                FROM (SELECT t, i, min(v) AS base FROM unnest(at_type, at_id, at_version) AS x(t, i, v) GROUP BY t, i) a
                LEFT JOIN unnest(ev_type, ev_id, ev_sequence) AS b(t, i, q) ON b.t = a.t AND b.i = a.i AND b.q = base + 1
                OFFSET 0) s
            WHERE (base > 0
                   AND (SELECT e.sequence FROM events e
                        WHERE e.aggregate_type = s.t AND e.aggregate_id = s.i AND e.sequence = base LIMIT 1) IS NULL
                   AND NOT EXISTS (SELECT FROM unnest(ev_type, ev_id, ev_sequence) AS c(t, i, q)
                                   WHERE c.t = s.t AND c.i = s.i AND c.q = base))
               OR (s.next IS NULL
                   AND (SELECT e.sequence FROM events e
                        WHERE e.aggregate_type = s.t AND e.aggregate_id = s.i AND e.sequence = base + 1 LIMIT 1) IS NOT NULL))
        THEN
            RAISE unique_violation;
        END IF;
    END IF;
    IF added > 0 THEN
        INSERT INTO events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata,
                            position, partition, event_id, recorded_at)
        SELECT unnest(ev_type), unnest(ev_id), unnest(ev_sequence), unnest(ev_event_type), unnest(ev_event_version),
               unnest(ev_payload), unnest(ev_metadata), generate_series(o_first_position, o_last_position), unnest(ev_partition),
               unnest(ev_event_id), o_recorded_at;
    END IF;
    IF cardinality(key_id) > 0 THEN
        INSERT INTO idempotency (key, fingerprint, state, status, problem, aggregate_type, aggregate_id, version,
                                 last_position, created_at)
        SELECT unnest(key_id), unnest(key_fingerprint), unnest(key_state), unnest(key_status), unnest(key_problem)::json,
               unnest(key_aggregate_type), unnest(key_aggregate_id), unnest(key_version), head.last_position + unnest(key_events_end),
               o_recorded_at;
    END IF;
    IF cardinality(completes) > 0 THEN
        UPDATE idempotency k SET state = 'done', last_position = o_last_position WHERE k.key = ANY (completes);
    END IF;
    IF cardinality(dl_id) > 0 THEN
        INSERT INTO deadline (deadline_id, kind, aggregate_type, aggregate_id, due_at)
        SELECT id, k, t, a, d FROM unnest(dl_id, dl_kind, dl_type, dl_aggregate, dl_due) AS x(id, k, t, a, d);
    END IF;

    INSERT INTO event_batch (batch, writer_id, batch_no, first_position, last_position, recorded_at, digest, chain, epoch, outcomes)
    VALUES (o_batch, p_writer_id, p_batch_no, o_first_position, o_last_position, o_recorded_at, p_digest,
            sha256(head.chain || p_digest || int8send(o_first_position) || int8send(o_last_position)), o_epoch, p_outcomes);
END
$$;
