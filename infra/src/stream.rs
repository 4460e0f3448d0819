//! The JetStream copy of the log: one stream whose sequence is the log's position.

use async_nats::jetstream::{self, stream};

/// The stream's name.
pub const STREAM: &str = "DAYBOOK";
/// Core-NATS subject on which a committed append wakes the relay.
pub const WAKE_SUBJECT: &str = "daybook.wake";
/// Oldest server whose JetStream keeps what we rely on.
pub const SERVER_VERSION_MIN: (u64, u64) = (2, 10);

/// Header with the event's partition.
pub const PARTITION_HEADER: &str = "Daybook-Partition";
/// Header with the event's metadata as JSON.
pub const METADATA_HEADER: &str = "Daybook-Metadata";
/// Headers with the commit that the event came in: its epoch, its number, and its link of the hash chain in hex.
pub const EPOCH_HEADER: &str = "Daybook-Epoch";
pub const BATCH_HEADER: &str = "Daybook-Batch";
pub const CHAIN_HEADER: &str = "Daybook-Chain";
/// Header of a claim check: the event is too large for this server and is read from Postgres; the body is empty.
pub const CLAIM_CHECK_HEADER: &str = "Daybook-Claim-Check";

#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    #[error("nats-server {found} is too old; 2.10 or newer is needed")]
    ServerTooOld { found: String },
    #[error("NATS_URL is not an address like nats://127.0.0.1:4222")]
    Address(#[source] std::io::Error),
    #[error("can't connect to NATS")]
    Connect(#[from] async_nats::ConnectError),
    #[error("JetStream refuses the stream")]
    Create(#[from] jetstream::context::CreateStreamError),
}

/// Connects; keeps on reconnecting for ever after the first success.
pub async fn connect(url: &str) -> Result<async_nats::Client, StreamError> {
    let address: async_nats::ServerAddr = url.parse().map_err(StreamError::Address)?;
    let mut options = async_nats::ConnectOptions::new().name("daybook");
    // The client does not take credentials from the address by itself.
    if let (Some(user), Some(password)) = (address.username(), address.password()) {
        options = options.user_and_password(user.to_owned(), password.to_owned());
    }
    let client = options.connect(address).await?;
    let found = client.server_info().version;
    let mut parts = found.split('.').map(|p| p.parse::<u64>().unwrap_or(0));
    let version = (parts.next().unwrap_or(0), parts.next().unwrap_or(0));
    if version < SERVER_VERSION_MIN {
        return Err(StreamError::ServerTooOld { found });
    }
    Ok(client)
}

/// The stream, made when it is not there; its first message will then be the event at `first_position`.
pub async fn ensure(context: &jetstream::Context, first_position: u64) -> Result<stream::Stream, StreamError> {
    let config = stream::Config {
        name: STREAM.to_owned(),
        subjects: vec!["events.>".to_owned()],
        discard: stream::DiscardPolicy::Old,
        storage: stream::StorageType::File,
        deny_delete: true,
        deny_purge: true,
        allow_direct: true,
        first_sequence: (first_position > 1).then_some(first_position),
        ..stream::Config::default()
    };
    Ok(context.get_or_create_stream(config).await?)
}

/// `events.<epoch>.<partition>.<context>.<EventType>`.
#[must_use]
pub fn subject(epoch: i32, partition: i16, context: &str, event_type: &str) -> String {
    format!("events.{epoch}.{partition}.{context}.{event_type}")
}
