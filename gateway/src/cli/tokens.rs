//! `daybook token`.

use anyhow::Context;
use chrono::Duration;

use crate::auth::{Role, Tokens};
use crate::shop::Shop;

pub fn print(shop: &Shop, role: Role, subject: &str, ttl: &str) -> anyhow::Result<()> {
    let tokens = Tokens::new(&shop.config.token_key)?;
    Ok(super::say(&(tokens.issue(role, subject, infra::clock::now(), parse_ttl(ttl)?)? + "\n"))?)
}

/// `30m`, `12h`, `7d`.
fn parse_ttl(text: &str) -> anyhow::Result<Duration> {
    let usage = || format!("--ttl must look like 30m, 12h or 7d, not {text:?}");
    let unit = text.chars().last().with_context(usage)?;
    let number: i64 = text[..text.len() - unit.len_utf8()].parse().with_context(usage)?;
    match unit {
        'm' => Duration::try_minutes(number),
        'h' => Duration::try_hours(number),
        'd' => Duration::try_days(number),
        _ => None,
    }
    .with_context(usage)
}
