-- How far the provider's own list of operations was held against the log.
CREATE TABLE reconciliation (
    provider      text        NOT NULL CONSTRAINT reconciliation_pk PRIMARY KEY,
    cursor        bigint      NOT NULL,
    reconciled_at timestamptz NOT NULL
);

-- Money at the provider that belongs to no payment of ours: parked until a person has settled it there and says so here.
CREATE TABLE unmatched_payment (
    provider           text        NOT NULL,
    provider_ref       text        NOT NULL,
    merchant_reference text        NOT NULL,
    amount             bigint      NOT NULL,
    currency           text        NOT NULL,
    first_seen_at      timestamptz NOT NULL,
    settled_at         timestamptz,
    settled_by         text,
    CONSTRAINT unmatched_payment_pk PRIMARY KEY (provider, provider_ref),
    CONSTRAINT unmatched_payment_settled CHECK ((settled_at IS NULL) = (settled_by IS NULL))
);
CREATE INDEX unmatched_payment_reference ON unmatched_payment (merchant_reference);
