-- Counted up by whoever changes what a projection has parked, or empties it: its projector then begins anew, whatever it
-- knew, and a batch that was made under the revision before does not move the checkpoint.
ALTER TABLE checkpoint ADD COLUMN revision bigint NOT NULL DEFAULT 0;
