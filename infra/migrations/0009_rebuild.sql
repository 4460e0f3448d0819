-- A read model that is to be made anew is emptied a moment later, by its projector: by then every reader has seen that it is
-- being made anew, and nobody takes the empty tables for an answer.
ALTER TABLE checkpoint ADD COLUMN to_be_emptied boolean NOT NULL DEFAULT false;
