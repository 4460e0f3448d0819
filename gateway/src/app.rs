//! What every handler has at hand.

use std::sync::Arc;

use commands::loader::Loader;
use commands::provider::PaymentProvider;
use commands::writer::Writer;
use infra::config::Config;
use infra::feed::Feed;
use infra::sealing::{MasterKey, Sealer};
use infra::task::CancellationToken;
use projections::cache::ReadCache;
use projections::query_log::QueryLog;
use projections::replica::SearchReplica;
use sqlx::PgPool;

use crate::auth::Tokens;
use crate::http::reading::Checkpoints;
use crate::settings::Settings;

/// One process's parts, shared by its handlers.
#[derive(Debug)]
pub struct App {
    pub config: Config,
    pub settings: Settings,
    pub pool: PgPool,
    pub loader: Loader,
    pub sealer: Sealer,
    pub master: MasterKey,
    pub tokens: Tokens,
    pub writer: Writer,
    pub feed: Feed,
    pub search: Arc<SearchReplica>,
    pub cache: Arc<ReadCache>,
    pub query_log: Arc<QueryLog>,
    pub provider: Option<PaymentProvider>,
    pub nats: Option<async_nats::Client>,
    pub checkpoints: Arc<Checkpoints>,
    /// Ends streams that would otherwise hold up a shutdown.
    pub stop: CancellationToken,
}
