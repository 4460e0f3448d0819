CREATE SCHEMA IF NOT EXISTS query_log;

CREATE TABLE IF NOT EXISTS query_log.query_day (
    query_id     uuid   NOT NULL CONSTRAINT query_day_pk PRIMARY KEY,
    day          date   NOT NULL,
    lang         text   COLLATE "C" NOT NULL,
    query        text   COLLATE "C" NOT NULL,
    searches     bigint NOT NULL,
    zero_results bigint NOT NULL
);
CREATE INDEX IF NOT EXISTS query_day_by_day ON query_log.query_day (day);
CREATE INDEX IF NOT EXISTS query_day_by_query ON query_log.query_day (lang, query);

CREATE TABLE IF NOT EXISTS query_log.query_click (
    query_id   uuid   NOT NULL,
    product_id uuid   NOT NULL,
    clicks     bigint NOT NULL,
    positions  bigint NOT NULL,
    CONSTRAINT query_click_pk PRIMARY KEY (query_id, product_id)
);
