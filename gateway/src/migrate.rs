//! Brings a database to the schema that this program needs: the log first, then the read models.

use anyhow::Context;
use infra::config::Config;
use infra::postgres;
use sqlx::Connection;

const CONNECTIONS_MAX: u32 = 2;

/// May run while an older version of the program works on the same database.
pub async fn run(config: &Config) -> anyhow::Result<()> {
    let pool =
        postgres::connect(&config.database_url, CONNECTIONS_MAX, &[]).await.context("can't connect to Postgres; check DATABASE_URL")?;
    let mut connection = sqlx::PgConnection::connect(&config.database_url).await?;
    postgres::MIGRATOR.run(&mut connection).await.context("the log's schema can't be brought up to date")?;
    projections::migrate_all(&pool).await.context("a read model's schema can't be made")?;
    Ok(())
}
