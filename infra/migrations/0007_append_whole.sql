-- append(), as it almost always goes: every command of the batch lands. What the writer can know before (the outcomes, the
-- digest of the batch) it sends along, and there is no savepoint: where anything clashes the transaction is undone as a whole,
-- with unique_violation, and the same batch goes to append(), which looks at each command. The same checks, rows and chain.
-- Expects plans to be made once (plan_cache_mode = force_generic_plan, enable_seqscan = off), which the writer's connection is
-- told: to say it at each call takes time.
CREATE FUNCTION append_whole(
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
    head event_batch%ROWTYPE;
BEGIN
    IF 1 > ANY (ev_sequence) THEN
        RAISE check_violation USING MESSAGE = 'the sequence of an event begins with 1';
    END IF;
    PERFORM pg_advisory_xact_lock(4919131752989213764);

    SELECT * INTO head FROM event_batch ORDER BY batch DESC LIMIT 1;
    o_epoch := head.epoch;
    o_batch := head.batch + 1;
    o_first_position := head.last_position + 1;
    o_last_position := head.last_position + cardinality(ev_sequence);
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
    IF cardinality(ev_sequence) > 0 THEN
        INSERT INTO events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata,
                            position, partition, event_id, recorded_at)
        SELECT t, i, s, et, ev, p, m, head.last_position + n, pa, id, o_recorded_at
        FROM unnest(ev_type, ev_id, ev_sequence, ev_event_type, ev_event_version, ev_payload, ev_metadata, ev_partition,
                    ev_event_id) WITH ORDINALITY AS e(t, i, s, et, ev, p, m, pa, id, n);
    END IF;
    IF cardinality(key_id) > 0 THEN
        INSERT INTO idempotency (key, fingerprint, state, status, problem, aggregate_type, aggregate_id, version,
                                 last_position, created_at)
        SELECT k, f, st, su, p::json, t, i, v, head.last_position + n, o_recorded_at
        FROM unnest(key_id, key_fingerprint, key_state, key_status, key_problem, key_aggregate_type, key_aggregate_id,
                    key_version, key_events_end) AS c(k, f, st, su, p, t, i, v, n);
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

-- Its text was read anew by each insertion. append_whole, which every batch goes through first, refuses what it refused.
ALTER TABLE events DROP CONSTRAINT events_sequence_positive;
