CREATE TABLE product (
    id         text COLLATE "C" NOT NULL CONSTRAINT product_pk PRIMARY KEY,
    version    bigint      NOT NULL,
    position   bigint      NOT NULL,
    state      json        NOT NULL,
    -- As claims compare it; none once the product is archived, since the handle is free again.
    handle     text COLLATE "C",
    published  boolean     NOT NULL,
    created_at timestamptz NOT NULL
);
CREATE INDEX product_handle ON product (handle);

-- Which product a variant is of. Rows outlive their product's sale, for carts that still name them.
CREATE TABLE variant (
    variant_id text COLLATE "C" NOT NULL CONSTRAINT variant_pk PRIMARY KEY,
    product_id text COLLATE "C" NOT NULL,
    -- As claims compare it; none once the product is archived.
    sku        text COLLATE "C"
);
CREATE INDEX variant_product ON variant (product_id);
CREATE INDEX variant_sku ON variant (sku);

CREATE TABLE category (
    id        text COLLATE "C" NOT NULL CONSTRAINT category_pk PRIMARY KEY,
    version   bigint NOT NULL,
    position  bigint NOT NULL,
    state     json   NOT NULL,
    -- As claims compare it; none once the category is archived.
    handle    text COLLATE "C",
    parent_id text COLLATE "C"
);
CREATE INDEX category_handle ON category (handle);
