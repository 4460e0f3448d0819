-- Why an epoch was opened: a log that begins anew after it was set back says so for ever.
ALTER TABLE log_epoch
    ADD COLUMN opened_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    ADD COLUMN reason text NOT NULL DEFAULT 'the log begins';

-- open_epoch(): begins a new epoch at the head, since somebody has seen a later state of this log, or another one.
-- p_seen_epoch is the epoch of what was seen. When a later one is open already, somebody else was faster: that one is
-- answered and nothing is written.
CREATE FUNCTION open_epoch(p_seen_epoch int, p_reason text, OUT o_epoch int, OUT o_first_position bigint)
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    head       event_batch%ROWTYPE;
    empty_hash bytea := sha256(''::bytea);
BEGIN
    PERFORM pg_advisory_xact_lock(4919131752989213764);
    SELECT * INTO head FROM event_batch ORDER BY batch DESC LIMIT 1;
    IF head.epoch > p_seen_epoch THEN
        SELECT epoch, first_position INTO o_epoch, o_first_position FROM log_epoch WHERE epoch = head.epoch;
        RETURN;
    END IF;
    o_epoch := p_seen_epoch + 1;
    o_first_position := head.last_position + 1;
    INSERT INTO log_epoch (epoch, first_position, chain, reason) VALUES (o_epoch, o_first_position, head.chain, p_reason);
    INSERT INTO event_batch (batch, writer_id, batch_no, first_position, last_position, recorded_at, digest, chain, epoch, outcomes)
    VALUES (head.batch + 1, gen_random_uuid(), 0, o_first_position, head.last_position,
            greatest(clock_timestamp(), head.recorded_at + interval '1 microsecond'), empty_hash,
            sha256(head.chain || empty_hash || int8send(o_first_position) || int8send(head.last_position)), o_epoch, '{}');
END
$$;
