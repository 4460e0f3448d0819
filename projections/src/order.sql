CREATE TABLE "order" (
    id         text COLLATE "C" NOT NULL CONSTRAINT order_pk PRIMARY KEY,
    version    bigint      NOT NULL,
    position   bigint      NOT NULL,
    state      json        NOT NULL,
    number     text COLLATE "C" NOT NULL,
    subject_id uuid        NOT NULL,
    status     text        NOT NULL,
    placed_at  timestamptz NOT NULL,
    -- Folds of its payments and shipments, in the words of the interface.
    payment_status    text    NOT NULL,
    fulfilment_status text    NOT NULL,
    on_hold           boolean NOT NULL
);
CREATE INDEX order_number ON "order" (number);
CREATE INDEX order_subject ON "order" (subject_id);
CREATE INDEX order_payment_status ON "order" (payment_status, placed_at DESC, id);
CREATE INDEX order_on_hold ON "order" (placed_at DESC, id) WHERE on_hold;
CREATE INDEX order_placed_at ON "order" (placed_at DESC, id);

CREATE TABLE payment (
    id       text COLLATE "C" NOT NULL CONSTRAINT payment_pk PRIMARY KEY,
    version  bigint NOT NULL,
    position bigint NOT NULL,
    state    json   NOT NULL,
    order_id text COLLATE "C" NOT NULL
);
CREATE INDEX payment_order ON payment (order_id);
