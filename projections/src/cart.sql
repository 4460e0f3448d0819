CREATE TABLE cart (
    id         text COLLATE "C" NOT NULL CONSTRAINT cart_pk PRIMARY KEY,
    version    bigint      NOT NULL,
    position   bigint      NOT NULL,
    state      json        NOT NULL,
    subject_id uuid        NOT NULL,
    status     text        NOT NULL,
    updated_at timestamptz NOT NULL
);
CREATE INDEX cart_subject ON cart (subject_id);
CREATE INDEX cart_open ON cart (updated_at) WHERE status = 'open';
