CREATE TABLE promotion (
    id           text COLLATE "C" NOT NULL CONSTRAINT promotion_pk PRIMARY KEY,
    version      bigint  NOT NULL,
    position     bigint  NOT NULL,
    state        json    NOT NULL,
    is_automatic boolean NOT NULL
);
CREATE INDEX promotion_automatic ON promotion (id) WHERE is_automatic;
