//! What Daybook rests on: Postgres, JetStream, keys, configuration, child servers.
//! Knows bytes and positions; knows no order, no stock, no price.

pub mod child_server;
pub mod clock;
pub mod cloud_event;
pub mod config;
pub mod event_log;
pub mod event_store;
pub mod fail_point;
pub mod feed;
pub mod history;
pub mod leadership;
pub mod postgres;
pub mod relay;
pub mod sealing;
pub mod stream;
pub mod task;
