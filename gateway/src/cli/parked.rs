//! `daybook parked`: what read models could not apply; tried again, or passed over.

use crate::http::ops::parked::{ParkedBody, ParkedEvent, ReleasedBody};
use crate::shop::Shop;

use super::projections::{answer, client};

/// The largest page that the shop gives.
const PAGE: usize = 200;

/// Lists all of it.
pub async fn list(shop: &Shop, json: bool) -> anyhow::Result<()> {
    let (mut parked, mut cursor) = (Vec::new(), None::<String>);
    loop {
        let after = cursor.map_or_else(String::new, |cursor| format!("&cursor={cursor}"));
        let request = client()?.get(format!("{}/v1/ops/parked?limit={PAGE}{after}", shop.url));
        let page: ParkedBody = answer(shop, request).await?;
        parked.extend(page.items);
        cursor = page.next_cursor;
        if cursor.is_none() {
            break;
        }
    }
    let line = |ParkedEvent { id, stream, error, parked_at, .. }: &ParkedEvent| {
        format!("{id:<16}  {stream}  {}  {error}\n", parked_at.format("%Y-%m-%d %H:%M:%S"))
    };
    let text = match parked.as_slice() {
        _ if json => serde_json::to_string_pretty(&parked)? + "\n",
        [] => "nothing is parked\n".to_owned(),
        parked => parked.iter().map(line).collect(),
    };
    Ok(super::say(&text)?)
}

/// `retry` or `discard` of one event and those behind it.
pub async fn act(shop: &Shop, id: &str, action: &str, json: bool) -> anyhow::Result<()> {
    let released: ReleasedBody = answer(shop, client()?.post(format!("{}/v1/ops/parked/{id}/{action}", shop.url))).await?;
    if json {
        println!("{}", serde_json::to_string_pretty(&released)?);
        return Ok(());
    }
    println!("{} events of the stream are released", released.released);
    if let (Some(at), Some(error)) = (released.stopped_at, released.error) {
        println!("it is parked again from {at} on: {error}");
    }
    Ok(())
}
