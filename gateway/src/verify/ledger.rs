//! The payment provider's books against ours: no money that only one of the two knows.
//!
//! While an operation is open the provider may be ahead of us; we may never be ahead of it. A page with a difference is
//! looked at again before it is reported, since both sides go on.

use std::collections::HashSet;
use std::time::Duration;

use commands::answer::Failure;
use commands::loader::Loader;
use domain::payment::Payment;
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
    let mut seen = HashSet::new();
    let mut after = Some(0);
    while let Some(place) = after {
        let mut page = match fetch(url, place).await {
            Ok(page) => page,
            Err(error) => {
                unreachable(report, &error);
                return Ok(());
            }
        };
        let mut found = differences(loader, &page).await?;
        if !found.is_empty() {
            sleep(AGAIN_AFTER).await;
            page = match fetch(url, place).await {
                Ok(page) => page,
                Err(error) => {
                    unreachable(report, &error);
                    return Ok(());
                }
            };
            found = differences(loader, &page).await?;
        }
        report.payments += page.payments.len() as u64;
        report.add(found);
        after = page.next_after;
        seen.extend(page.payments.into_iter().map(|totals| totals.merchant_reference));
    }
    only_ours(loader, &seen, report).await
}

async fn fetch(url: &str, after: u64) -> Result<Page, reqwest::Error> {
    let client = reqwest::Client::builder().timeout(ANSWER_TIMEOUT).build()?;
    let page = client.get(format!("{url}/v1/ledger?after={after}&limit={PAGE_PAYMENTS_MAX}"));
    page.send().await?.error_for_status()?.json().await
}

fn unreachable(report: &mut Report, error: &reqwest::Error) {
    report.unchecked.push(format!("the ledger: the payment provider does not answer ({error})"));
}

async fn differences(loader: &Loader, page: &Page) -> Result<Vec<Discrepancy>, VerifyError> {
    let mut found = Vec::new();
    for theirs in &page.payments {
        if let Some(ours) = ours(loader, &theirs.merchant_reference, &mut found).await? {
            found.extend(difference(theirs, &ours).map(|detail| at(&theirs.merchant_reference, detail)));
        }
    }
    Ok(found)
}

/// Our side of a payment; a stream that can't be read is a discrepancy and no reason to stop.
async fn ours(loader: &Loader, id: &str, found: &mut Vec<Discrepancy>) -> Result<Option<Payment>, VerifyError> {
    match loader.load::<Payment>(id).await {
        Ok((payment, _)) => Ok(Some(payment)),
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
        return Some("the provider has the payment, we do not".to_owned());
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

/// Payments of ours with money that the provider does not know of.
async fn only_ours(loader: &Loader, seen: &HashSet<String>, report: &mut Report) -> Result<(), VerifyError> {
    let mut after = String::new();
    loop {
        let ids: Vec<String> = sqlx::query_scalar(
            "SELECT DISTINCT aggregate_id FROM events WHERE aggregate_type = 'payment' AND aggregate_id > $1
             ORDER BY aggregate_id LIMIT $2",
        )
        .bind(&after)
        .bind(PAGE_IDS_MAX)
        .fetch_all(loader.pool())
        .await?;
        let Some(last) = ids.last() else {
            return Ok(());
        };
        after.clone_from(last);
        for id in ids.iter().filter(|id| !seen.contains(*id)) {
            let mut found = Vec::new();
            if ours(loader, id, &mut found).await?.is_some_and(|ours| ours.authorized() > 0) {
                found.push(at(id, "we have the payment's money, the provider has never heard of it"));
            }
            report.add(found);
        }
    }
}

fn at(payment: &str, detail: impl Into<String>) -> Discrepancy {
    Discrepancy::new(Check::Ledger, format!("payment/{payment}"), detail)
}
