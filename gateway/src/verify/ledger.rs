//! The payment provider's books against ours: no money that only one of the two knows.
//!
//! Both sides go on meanwhile: ours is taken as of a position from before the provider is asked, so we may never be ahead of
//! it. It may be ahead of us while an operation is open, and for as long as its word is on its way: a page with a difference is
//! looked at again before it is reported. A payment that has moved on since that position is not judged.

use std::collections::HashSet;
use std::time::Duration;

use commands::answer::Failure;
use commands::loader::Loader;
use domain::payment::Payment;
use infra::event_log;
use infra::sealing::SealError;
use serde::Deserialize;
use tokio::time::sleep;

use super::{Check, Discrepancy, Report, VerifyError};

/// Payments of the provider's ledger that are read at once.
const PAGE_PAYMENTS_MAX: u32 = 500;
/// Our payments whose ids are read at once.
const PAGE_IDS_MAX: i64 = 1_000;
/// Longest wait for the provider's answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// Wait before a page with a difference is looked at again.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// `GET {url}/v1/ledger?after=&limit=`
#[derive(Debug, Deserialize)]
struct Page {
    payments: Vec<Totals>,
    next_after: Option<u64>,
}

/// What the provider says that it did for one payment; minor units.
#[derive(Debug, Deserialize)]
struct Totals {
    merchant_reference: String,
    currency: String,
    amount: i64,
    authorized: i64,
    captured: i64,
    refunded: i64,
}

/// Compares every payment of either side.
pub(super) async fn compare(loader: &Loader, url: &str, report: &mut Report) -> Result<(), VerifyError> {
    let begun_at = event_log::head(loader.pool()).await?.position;
    let mut seen = HashSet::new();
    let mut after = Some(0);
    while let Some(place) = after {
        let mut looked = look(loader, url, place).await;
        if matches!(&looked, Ok((_, found)) if !found.is_empty()) {
            sleep(AGAIN_AFTER).await;
            looked = look(loader, url, place).await;
        }
        let (page, found) = match looked {
            Ok(looked) => looked,
            Err(LookError::Provider(error)) => {
                report.unchecked.push(format!("the ledger: the payment provider does not answer ({error})"));
                return Ok(());
            }
            Err(LookError::Ours(error)) => return Err(error),
        };
        report.payments += page.payments.len() as u64;
        report.add(found);
        after = page.next_after;
        for totals in page.payments {
            let reference = totals.merchant_reference.clone();
            if !seen.insert(totals.merchant_reference) && totals.authorized > 0 && !is_settled(loader, &reference).await? {
                report
                    .add(vec![at(&reference, "the provider has two payments under this reference; settle one, then in /v1/ops/unmatched")]);
            }
        }
    }
    only_ours(loader, &seen, begun_at, report).await
}

enum LookError {
    Provider(reqwest::Error),
    Ours(VerifyError),
}

/// A page of the provider's ledger, and what ours says differently.
async fn look(loader: &Loader, url: &str, after: u64) -> Result<(Page, Vec<Discrepancy>), LookError> {
    let position = event_log::head(loader.pool()).await.map_err(|error| LookError::Ours(error.into()))?.position;
    let page = fetch(url, after).await.map_err(LookError::Provider)?;
    let found = differences(loader, &page, position).await.map_err(LookError::Ours)?;
    Ok((page, found))
}

async fn fetch(url: &str, after: u64) -> Result<Page, reqwest::Error> {
    let client = reqwest::Client::builder().timeout(ANSWER_TIMEOUT).build()?;
    let page = client.get(format!("{url}/v1/ledger?after={after}&limit={PAGE_PAYMENTS_MAX}"));
    page.send().await?.error_for_status()?.json().await
}

async fn differences(loader: &Loader, page: &Page, position: i64) -> Result<Vec<Discrepancy>, VerifyError> {
    let mut found = Vec::new();
    for theirs in &page.payments {
        let id = theirs.merchant_reference.as_str();
        let Some((then, version)) = ours(loader, id, position, &mut found).await? else { continue };
        if then.created.is_none() && is_settled(loader, id).await? {
            continue;
        }
        if let Some(detail) = difference(theirs, &then)
            && ours(loader, id, i64::MAX, &mut found).await?.is_some_and(|(_, now)| now == version)
        {
            found.push(at(id, detail));
        }
    }
    Ok(found)
}

/// Whether a person has said that money which is not ours to move was settled at the provider.
async fn is_settled(loader: &Loader, merchant_reference: &str) -> Result<bool, VerifyError> {
    let settled = "SELECT EXISTS (SELECT FROM unmatched_payment WHERE merchant_reference = $1)
                   AND NOT EXISTS (SELECT FROM unmatched_payment WHERE merchant_reference = $1 AND settled_at IS NULL)";
    Ok(sqlx::query_scalar(settled).bind(merchant_reference).fetch_one(loader.pool()).await?)
}

/// Our side of a payment as of a position, and its version; a stream that can't be read is a discrepancy and no reason to stop.
async fn ours(loader: &Loader, id: &str, position: i64, found: &mut Vec<Discrepancy>) -> Result<Option<(Payment, i64)>, VerifyError> {
    match loader.load_as_of::<Payment>(id, position).await {
        Ok(payment) => Ok(Some(payment)),
        Err(Failure::Decode(_) | Failure::Seal(SealError::Broken | SealError::Key | SealError::Payload)) => {
            found.push(at(id, "our events of it can't be read"));
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

/// What the two sides say differently about one payment.
fn difference(theirs: &Totals, ours: &Payment) -> Option<String> {
    let Some(created) = &ours.created else {
        if theirs.authorized == 0 && theirs.captured == 0 {
            return None;
        }
        return Some("the provider has the payment, we do not; settle it there, then in /v1/ops/unmatched".to_owned());
    };
    let (amount, currency) = (created.amount.amount(), created.amount.currency());
    if (theirs.amount, theirs.currency.as_str()) != (amount, currency.as_str()) {
        let Totals { amount: theirs_amount, currency: theirs_currency, .. } = theirs;
        return Some(format!("it is over {theirs_amount} {theirs_currency} at the provider, over {amount} {} here", currency.as_str()));
    }
    let open = ours.operations.iter().any(|operation| operation.outcome.is_open());
    let sums = [
        ("authorised", theirs.authorized, ours.authorized()),
        ("captured", theirs.captured, ours.captured()),
        ("refunded", theirs.refunded, ours.refunded()),
    ];
    let (what, theirs, ours) = sums.into_iter().find(|&(_, theirs, ours)| if open { ours > theirs } else { ours != theirs })?;
    Some(format!("the provider has {what} {theirs} {} (minor units), we have {ours}", currency.as_str()))
}

/// Payments of ours that had money at `position`, and that the provider, asked later, does not know of.
async fn only_ours(loader: &Loader, seen: &HashSet<String>, position: i64, report: &mut Report) -> Result<(), VerifyError> {
    let mut after = String::new();
    loop {
        let ids: Vec<String> = sqlx::query_scalar(
            "SELECT aggregate_id FROM events WHERE aggregate_type = 'payment' AND aggregate_id > $1 AND sequence = 1 AND position <= $3
             ORDER BY aggregate_id LIMIT $2",
        )
        .bind(&after)
        .bind(PAGE_IDS_MAX)
        .bind(position)
        .fetch_all(loader.pool())
        .await?;
        let Some(last) = ids.last() else {
            return Ok(());
        };
        after.clone_from(last);
        for id in ids.iter().filter(|id| !seen.contains(*id)) {
            let mut found = Vec::new();
            if ours(loader, id, position, &mut found).await?.is_some_and(|(ours, _)| ours.authorized() > 0) {
                found.push(at(id, "we have the payment's money, the provider has never heard of it"));
            }
            report.add(found);
        }
    }
}

fn at(payment: &str, detail: impl Into<String>) -> Discrepancy {
    Discrepancy::new(Check::Ledger, format!("payment/{payment}"), detail)
}
