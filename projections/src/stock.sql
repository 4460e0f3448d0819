CREATE TABLE stock (
    id             text COLLATE "C" NOT NULL CONSTRAINT stock_pk PRIMARY KEY,
    version        bigint      NOT NULL,
    position       bigint      NOT NULL,
    state          json        NOT NULL,
    -- Sums over the variant's locations.
    on_hand        bigint      NOT NULL,
    allocated      bigint      NOT NULL,
    reserved       bigint      NOT NULL,
    available      bigint      NOT NULL,
    policy         text        NOT NULL,
    -- Units that may still be promised beyond what is there.
    backorder_left bigint      NOT NULL,
    -- Units ever allocated to orders: what search calls popularity.
    sold           bigint      NOT NULL,
    created_at     timestamptz NOT NULL
);
