//! Carts that nobody touches expire: looked for now and then in the read model, so many at a time. The cart itself decides: one
//! that was touched meanwhile has another version and is left alone.

use std::time::Duration;

use commands::answer::{CommandError, Origin};
use commands::cart::{self, CartAt};
use commands::writer::Writer;
use domain::cart::CartCommand;
use domain::id::CartKey;
use infra::task::CancellationToken;
use sqlx::PgPool;

/// Most carts that expire at once.
const CARTS_MAX: i64 = 500;
/// How often they are looked for; sooner where they live shorter.
const INTERVAL_MAX: Duration = Duration::from_mins(1);
const INTERVAL_MIN: Duration = Duration::from_millis(100);

pub async fn run(pool: PgPool, writer: Writer, ttl: Duration, stop: CancellationToken) {
    let interval = (ttl / 2).clamp(INTERVAL_MIN, INTERVAL_MAX);
    loop {
        tokio::select! { () = stop.cancelled() => return, () = tokio::time::sleep(interval) => {} }
        if let Err(error) = expire(&pool, &writer, ttl).await {
            tracing::warn!(error = &error as &dyn std::error::Error, "carts that nobody touches can't be looked for");
        }
    }
}

async fn expire(pool: &PgPool, writer: &Writer, ttl: Duration) -> Result<(), sqlx::Error> {
    let since = infra::clock::now() - chrono::Duration::from_std(ttl).unwrap_or(chrono::Duration::MAX);
    for (key, version) in projections::cart::untouched_since(pool, since, CARTS_MAX).await? {
        let command_id = infra::clock::new_id();
        let origin = Origin::system("cart_expiry", command_id, command_id, command_id);
        let at = CartAt { key: CartKey::new(key), if_match: Some(version) };
        match writer.execute(&origin, None, move |streams| cart::change(streams, &at, CartCommand::Expire)).await {
            // Touched, or taken to the checkout, since the read model saw it.
            Ok(_) | Err(CommandError::Refused(..)) => {}
            Err(error) => {
                tracing::debug!(error = &error as &dyn std::error::Error, "carts expire later: nothing can be written here now");
                return Ok(());
            }
        }
    }
    Ok(())
}
