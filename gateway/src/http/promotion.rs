//! Promotions and coupons for merchants. A coupon's code is shown once, to whoever makes it.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use chrono::{DateTime, Utc};
use commands::answer::CommandError;
use commands::promotion::{self, COUPONS_AT_ONCE_MAX, Patch, PromotionAt};
use commands::streams::{Stop, Streams};
use domain::id::{CouponId, PromotionId};
use domain::money::Money;
use domain::promotion::{Benefit, CouponCreated, Dates, Filter, Promotion, PromotionChanged, PromotionCreated, Rule, Target};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::json;
use utoipa::ToSchema;
use uuid::Uuid;

use super::body::{Body, Query};
use super::caller::{Caller, Manages, Sees, Staff, new_secret};
use super::cart::settled;
use super::money::{MoneyBody, MoneyDraft, amounts};
use super::page::{Items, Page, PageQuery, invalid_cursor, limit};
use super::problem::Problem;
use super::reading::{Read, TokenQuery, Wrote};
use crate::app::App;

/// The length of codes, given or made (without a prefix), in characters.
const CODE_CHARS_MIN: usize = 3;
const CODE_CHARS_MAX: usize = 64;
const CODE_MADE_CHARS: usize = 12;
const PREFIX_CHARS_MAX: usize = 32;
/// Crockford's base 32: no I, L, O, U.
const CODE_ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// A promotion; without a start it is on at once, without an end for ever.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewPromotion {
    title: String,
    /// `{kind: "percent", ppm}` or `{kind: "fixed", amounts: [money]}`, and `target`: `order`, `shipping`, or `line` with any of
    /// `product_ids`, `variant_ids`, `category_ids`.
    #[schema(value_type = Object, example = json!({ "kind": "percent", "ppm": 100_000, "target": "order" }))]
    rule: Rule,
    /// The goods that a cart must have, before any discount, one amount per currency.
    #[serde(default)]
    #[schema(value_type = Vec<MoneyDraft>)]
    minimum: Vec<Money>,
    #[serde(default)]
    starts_at: Option<DateTime<Utc>>,
    /// Not included.
    #[serde(default)]
    ends_at: Option<DateTime<Utc>>,
    /// Takes effect without a coupon; can't be changed later.
    #[serde(default)]
    automatic: bool,
    /// Takes effect alone or not at all.
    #[serde(default)]
    exclusive: bool,
    /// The higher one comes first.
    #[serde(default)]
    priority: i32,
}

/// What is named is changed; a date that is null is taken away.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(clippy::option_option, reason = "absent and null mean different things")]
pub struct PromotionPatch {
    #[serde(default)]
    title: Option<String>,
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    rule: Option<Rule>,
    #[serde(default)]
    #[schema(value_type = Option<Vec<MoneyDraft>>)]
    minimum: Option<Vec<Money>>,
    #[serde(default, deserialize_with = "named", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<DateTime<Utc>>)]
    starts_at: Option<Option<DateTime<Utc>>>,
    #[serde(default, deserialize_with = "named", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<DateTime<Utc>>)]
    ends_at: Option<Option<DateTime<Utc>>>,
    #[serde(default)]
    exclusive: Option<bool>,
    #[serde(default)]
    priority: Option<i32>,
}

/// Coupons with the given codes, or so many with codes that nobody guesses.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewCoupons {
    /// Letters, digits, `-` and `_`; compared without case.
    #[serde(default)]
    codes: Vec<String>,
    #[serde(default)]
    count: Option<usize>,
    /// What made codes begin with.
    #[serde(default)]
    prefix: Option<String>,
    /// Uses of each by everybody together; unlimited unless given.
    #[serde(default)]
    limit: Option<u32>,
    /// Uses of each by one e-mail address; unlimited unless given.
    #[serde(default)]
    per_subject: Option<u32>,
    #[serde(default)]
    valid_from: Option<DateTime<Utc>>,
    /// Not included.
    #[serde(default)]
    valid_until: Option<DateTime<Utc>>,
}

/// A promotion as it is now.
#[derive(Debug, Serialize, ToSchema)]
pub struct PromotionBody {
    id: Uuid,
    title: String,
    rule: RuleBody,
    /// The goods that a cart must have, before any discount, one amount per currency.
    minimum: Vec<MoneyBody>,
    starts_at: Option<DateTime<Utc>>,
    /// Not included.
    ends_at: Option<DateTime<Utc>>,
    /// When somebody ended it for ever.
    ended_at: Option<DateTime<Utc>>,
    /// Takes effect without a coupon.
    automatic: bool,
    /// Takes effect alone or not at all.
    exclusive: bool,
    /// The higher one comes first.
    priority: i32,
    /// `scheduled`, `active`, `ended`.
    status: &'static str,
    coupons: CouponTotals,
}

/// What is taken off, and from what.
#[derive(Debug, Serialize, ToSchema)]
pub struct RuleBody {
    /// `percent`, `fixed`.
    kind: &'static str,
    /// Of `percent`: parts per million, 100000 is 10 %.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 1_000_000)]
    ppm: Option<u32>,
    /// Of `fixed`: one amount per currency.
    #[serde(skip_serializing_if = "Option::is_none")]
    amounts: Option<Vec<MoneyBody>>,
    /// `line`, `order`, `shipping`.
    target: &'static str,
    /// Of the target `line`: which, as the two below; one match is enough, and without any it is every line.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    product_ids: Vec<Uuid>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    variant_ids: Vec<Uuid>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    category_ids: Vec<Uuid>,
}

/// All coupons of a promotion together.
#[derive(Debug, Serialize, ToSchema)]
pub struct CouponTotals {
    count: usize,
    /// Uses by orders that are confirmed.
    redeemed: u64,
    /// Uses by orders that wait for their payment.
    reserved: u64,
}

/// A coupon that was just made: the only time that its code is shown.
#[derive(Debug, Serialize, ToSchema)]
pub struct NewCouponBody {
    coupon_id: Uuid,
    code: String,
}

/// A coupon and its uses; not its code, which nobody knows any more.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Coupon)]
pub struct CouponUses {
    coupon_id: Uuid,
    /// Uses by everybody together; null: unlimited.
    limit: Option<u32>,
    /// Uses by one e-mail address; null: unlimited.
    per_subject: Option<u32>,
    valid_from: Option<DateTime<Utc>>,
    /// Not included.
    valid_until: Option<DateTime<Utc>>,
    redeemed: u32,
    reserved: u32,
    /// Whose uses are reserved.
    reservations: Vec<CouponReservation>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct CouponReservation {
    reservation_id: Uuid,
    order_id: Uuid,
}

/// All promotions, the newest first.
#[utoipa::path(get, path = "/admin/promotions", operation_id = "list_promotions", tag = "merchants",
    params(PageQuery),
    responses((status = 200, body = Page<PromotionBody>)))]
pub async fn list(
    State(app): State<Arc<App>>,
    caller: Staff<Sees>,
    Query(query): Query<PageQuery>,
) -> Result<Read<Page<PromotionBody>>, Problem> {
    let limit = limit(query.limit)?;
    if query.cursor.as_deref().is_some_and(|cursor| cursor.parse::<PromotionId>().is_err()) {
        return Err(invalid_cursor());
    }
    let at = app.read_position(&caller, query.token_position.as_deref(), "promotion").await?;
    let rows = projections::promotion::list(&app.pool, query.cursor.as_deref(), i64::try_from(limit).unwrap_or(i64::MAX)).await?;
    let full = rows.len() == limit;
    let next_cursor = rows.last().filter(|_| full).map(|row| row.id.clone());
    let items = rows.iter().filter_map(|row| render(&row.state)).collect();
    Ok(Read::personal(Page { items, next_cursor }, at))
}

/// Makes a promotion.
#[utoipa::path(post, path = "/admin/promotions", operation_id = "create_promotion", tag = "merchants", request_body = NewPromotion,
    responses((status = 201, body = PromotionBody, description = "the promotion"), (status = 422, description = "validation_failed")))]
pub async fn create(
    State(app): State<Arc<App>>,
    caller: Staff<Manages>,
    Body(new): Body<NewPromotion>,
) -> Result<Wrote<PromotionBody>, Problem> {
    let idempotency = caller.idempotency(&new, false)?;
    let created = PromotionCreated {
        promotion_id: PromotionId::new(infra::clock::new_id()),
        title: new.title,
        rule: new.rule,
        minimum: new.minimum,
        dates: Dates { starts_at: new.starts_at, ends_at: new.ends_at },
        automatic: new.automatic,
        exclusive: new.exclusive,
        priority: new.priority,
    };
    let decide = move |streams: &mut Streams<'_>| promotion::create(streams, &created);
    answer(&app, StatusCode::CREATED, app.writer.execute(caller.origin(), idempotency, decide).await).await
}

/// Shows a promotion.
#[utoipa::path(get, path = "/admin/promotions/{id}", operation_id = "show_promotion", tag = "merchants", params(("id" = String, Path), TokenQuery),
    responses((status = 200, body = PromotionBody, description = "the promotion"), (status = 404, description = "not_found")))]
pub async fn show(
    State(app): State<Arc<App>>,
    caller: Staff<Sees>,
    Path(id): Path<String>,
    Query(query): Query<TokenQuery>,
) -> Result<Read<PromotionBody>, Problem> {
    let (state, version, at) = read(&app, &caller, &id, query.token_position.as_deref()).await?;
    let body = render(&state).ok_or_else(|| Problem::not_found("promotion"))?;
    Ok(Read::personal(body, at).version(version, &caller))
}

/// Changes a promotion: its title, rule, minimum, dates, priority, whether it stands alone. Carts show it at once; orders that are
/// placed stay as they are.
#[utoipa::path(patch, path = "/admin/promotions/{id}", operation_id = "change_promotion", tag = "merchants", params(("id" = String, Path)), request_body = PromotionPatch,
    responses((status = 200, body = PromotionBody, description = "the promotion"), (status = 404, description = "not_found"), (status = 409, description = "invalid_state: it has ended; version_conflict"), (status = 422, description = "validation_failed")))]
pub async fn change(
    State(app): State<Arc<App>>,
    caller: Staff<Manages>,
    Path(id): Path<String>,
    Body(wanted): Body<PromotionPatch>,
) -> Result<Wrote<PromotionBody>, Problem> {
    let at = promotion_at(&caller, &id)?;
    let idempotency = caller.idempotency(&wanted, false)?;
    let changed = PromotionChanged {
        title: wanted.title,
        rule: wanted.rule,
        minimum: wanted.minimum,
        dates: None,
        exclusive: wanted.exclusive,
        priority: wanted.priority,
    };
    let patch = Patch { changed, starts_at: wanted.starts_at, ends_at: wanted.ends_at };
    command(&app, &caller, idempotency, move |streams| promotion::change(streams, at, &patch)).await
}

/// Ends a promotion for ever. Orders that have reserved its coupons keep them.
#[utoipa::path(post, path = "/admin/promotions/{id}/end", operation_id = "end_promotion", tag = "merchants", params(("id" = String, Path)),
    responses((status = 200, body = PromotionBody, description = "the promotion"), (status = 404, description = "not_found"), (status = 409, description = "version_conflict")))]
pub async fn end(State(app): State<Arc<App>>, caller: Staff<Manages>, Path(id): Path<String>) -> Result<Wrote<PromotionBody>, Problem> {
    let at = promotion_at(&caller, &id)?;
    let idempotency = caller.idempotency(&(), false)?;
    command(&app, &caller, idempotency, move |streams| promotion::end(streams, at)).await
}

/// Makes coupons, and shows their codes for the only time: what is stored is a keyed hash.
#[utoipa::path(post, path = "/admin/promotions/{id}/coupons", operation_id = "create_coupons", tag = "merchants", params(("id" = String, Path)), request_body = NewCoupons,
    responses((status = 201, body = Items<NewCouponBody>), (status = 404, description = "not_found"),
        (status = 409, description = "already_exists {index}: a coupon has this code; invalid_state: an automatic promotion, one that has ended, or too many"), (status = 422, description = "validation_failed")))]
pub async fn create_coupons(
    State(app): State<Arc<App>>,
    caller: Staff<Manages>,
    Path(id): Path<String>,
    Body(new): Body<NewCoupons>,
) -> Result<Wrote<Items<NewCouponBody>>, Problem> {
    let at = promotion_at(&caller, &id)?;
    let hashes: Vec<String> = new.codes.iter().map(|code| promotion::code_hash(&app.master, code)).collect();
    // What is kept of the body must not tell the codes.
    let kept = json!({ "hashes": hashes, "count": new.count, "prefix": new.prefix, "limit": new.limit, "per_subject": new.per_subject,
        "valid_from": new.valid_from, "valid_until": new.valid_until });
    let idempotency = caller.idempotency(&kept, false)?;
    // With a key the codes are made from it: an answer that was lost can be had again.
    let secret = match &idempotency {
        Some(idempotency) => app.master.hash_secret("coupons_of_key", &idempotency.key.to_string()),
        None => new_secret()?,
    };
    let codes = codes(&app, &new, &secret)?;
    let coupons: Vec<CouponCreated> = codes
        .iter()
        .map(|code| {
            let code_hash = promotion::code_hash(&app.master, code);
            CouponCreated {
                coupon_id: CouponId::new(Uuid::new_v5(&at.promotion_id.uuid(), code_hash.as_bytes())),
                promotion_id: at.promotion_id,
                code_hash,
                limit: new.limit,
                per_subject: new.per_subject,
                valid_from: new.valid_from,
                valid_until: new.valid_until,
            }
        })
        .collect();
    let items = codes.iter().zip(&coupons).map(|(code, coupon)| NewCouponBody { coupon_id: coupon.coupon_id.uuid(), code: code.clone() });
    let body = Items { items: items.collect() };
    let decide = move |streams: &mut Streams<'_>| promotion::create_coupons(streams, at, &coupons);
    let (position, replayed) = match app.writer.execute(caller.origin(), idempotency, decide).await {
        Ok(done) => (done.position, false),
        Err(CommandError::Replayed(recorded)) => (settled(*recorded)?.position, true),
        Err(error) => return Err(error.into()),
    };
    Ok(Wrote { status: StatusCode::CREATED, body: Some(body), position, version: None, replayed })
}

/// The coupons of a promotion and their uses; not their codes, which nobody knows any more.
#[utoipa::path(get, path = "/admin/promotions/{id}/coupons", operation_id = "list_coupons", tag = "merchants",
    params(("id" = String, Path), PageQuery),
    responses((status = 200, body = Page<CouponUses>), (status = 404, description = "not_found")))]
pub async fn coupons(
    State(app): State<Arc<App>>,
    caller: Staff<Sees>,
    Path(id): Path<String>,
    Query(query): Query<PageQuery>,
) -> Result<Read<Page<CouponUses>>, Problem> {
    let limit = limit(query.limit)?;
    let after = query.cursor.as_deref().map(|cursor| cursor.parse::<CouponId>().map_err(|_| invalid_cursor())).transpose()?;
    let (state, version, at) = read(&app, &caller, &id, query.token_position.as_deref()).await?;
    let page: Vec<_> = state.coupons.iter().filter(|(id, _)| after.is_none_or(|after| **id > after)).take(limit).collect();
    let next_cursor = page.last().filter(|_| page.len() == limit).map(|(coupon_id, _)| coupon_id.to_string());
    let items = page.into_iter().map(|(coupon_id, coupon)| CouponUses {
        coupon_id: coupon_id.uuid(),
        limit: coupon.limit,
        per_subject: coupon.per_subject,
        valid_from: coupon.valid_from,
        valid_until: coupon.valid_until,
        redeemed: coupon.redeemed,
        reserved: coupon.reserved,
        reservations: reservations(&state, *coupon_id),
    });
    Ok(Read::personal(Page { items: items.collect(), next_cursor }, at).version(version, &caller))
}

fn reservations(promotion: &Promotion, coupon_id: CouponId) -> Vec<CouponReservation> {
    let of_coupon = promotion.reservations.values().filter(|reservation| reservation.coupon_id == coupon_id);
    let shown = of_coupon
        .map(|reservation| CouponReservation { reservation_id: reservation.reservation_id, order_id: reservation.order_id.uuid() });
    shown.collect()
}

async fn read(app: &App, caller: &Caller, id: &str, token: Option<&str>) -> Result<(Promotion, i64, commands::answer::Position), Problem> {
    let id = id.parse::<PromotionId>().map_err(|_| Problem::not_found("promotion"))?.to_string();
    let at = app.read_position(caller, token, "promotion").await?;
    let at = app.rows_position::<Promotion>(caller, token, "promotion", std::slice::from_ref(&id), at).await?;
    let row = projections::promotion::find(&app.pool, &[id]).await?.pop().ok_or_else(|| Problem::not_found("promotion"))?;
    Ok((row.state, row.version, at))
}

async fn command(
    app: &App,
    caller: &Caller,
    idempotency: Option<commands::writer::Idempotency>,
    decide: impl Fn(&mut Streams<'_>) -> Result<promotion::Outcome, Stop> + Send + Sync + 'static,
) -> Result<Wrote<PromotionBody>, Problem> {
    answer(app, StatusCode::OK, app.writer.execute(caller.origin(), idempotency, decide).await).await
}

async fn answer(
    app: &App,
    status: StatusCode,
    done: Result<commands::answer::Done<promotion::Outcome>, CommandError>,
) -> Result<Wrote<PromotionBody>, Problem> {
    let (position, (state, version), replayed) = match done {
        Ok(done) => (done.position, done.output, false),
        Err(CommandError::Replayed(recorded)) => {
            let recorded = settled(*recorded)?;
            let id = recorded.aggregate.map(|(_, id)| id).unwrap_or_default();
            (recorded.position, app.loader.load_as_of::<Promotion>(&id, recorded.position.position).await?, true)
        }
        Err(error) => return Err(error.into()),
    };
    Ok(Wrote { status, body: render(&state), position, version: Some(version), replayed })
}

fn promotion_at(caller: &Caller, id: &str) -> Result<PromotionAt, Problem> {
    let promotion_id = id.parse().map_err(|_| Problem::not_found("promotion"))?;
    Ok(PromotionAt { promotion_id, if_match: caller.if_match()? })
}

/// The codes that were given, or so many as were asked for, made from a secret.
fn codes(app: &App, new: &NewCoupons, secret: &str) -> Result<Vec<String>, Problem> {
    let fits = |code: &str| code.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    let invalid = |pointer: &str, detail: String| Problem::invalid(pointer, "invalid", detail);
    let number = new.count.unwrap_or(new.codes.len());
    if new.count.is_some() != new.codes.is_empty() || !(1..=COUPONS_AT_ONCE_MAX).contains(&number) {
        let pointer = if new.codes.is_empty() && new.count.is_some() { "/count" } else { "/codes" };
        return Err(invalid(pointer, format!("give 1 to {COUPONS_AT_ONCE_MAX} codes, or their count")));
    }
    for (index, code) in new.codes.iter().enumerate() {
        if !fits(code) || !(CODE_CHARS_MIN..=CODE_CHARS_MAX).contains(&code.len()) {
            let detail = format!("a code has {CODE_CHARS_MIN} to {CODE_CHARS_MAX} letters, digits, - or _");
            return Err(invalid(&format!("/codes/{index}"), detail));
        }
    }
    let prefix = new.prefix.clone().unwrap_or_default();
    if !fits(&prefix) || prefix.len() > PREFIX_CHARS_MAX {
        return Err(invalid("/prefix", format!("a prefix has at most {PREFIX_CHARS_MAX} letters, digits, - or _")));
    }
    if new.count.is_none() {
        return Ok(new.codes.clone());
    }
    let made = (0..number).map(|n| {
        let random = app.master.hash_secret("coupon_code", &format!("{secret}:{n}"));
        let bytes = random.as_bytes().chunks(2).take(CODE_MADE_CHARS);
        let chars = bytes.map(|hex| {
            let byte = std::str::from_utf8(hex).ok().and_then(|hex| u8::from_str_radix(hex, 16).ok()).unwrap_or_default();
            char::from(CODE_ALPHABET[usize::from(byte % 32)])
        });
        format!("{prefix}{}", chars.collect::<String>())
    });
    Ok(made.collect())
}

/// A field that is there, also as null.
#[expect(clippy::option_option, reason = "absent and null mean different things")]
fn named<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<DateTime<Utc>>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

fn render(promotion: &Promotion) -> Option<PromotionBody> {
    let terms = promotion.terms.as_ref()?;
    let uses = |of: fn(&domain::promotion::Coupon) -> u32| promotion.coupons.values().map(|coupon| u64::from(of(coupon))).sum();
    Some(PromotionBody {
        id: terms.promotion_id.uuid(),
        title: terms.title.clone(),
        rule: render_rule(&terms.rule),
        minimum: amounts(&terms.minimum),
        starts_at: terms.dates.starts_at,
        ends_at: terms.dates.ends_at,
        ended_at: promotion.ended_at,
        automatic: terms.automatic,
        exclusive: terms.exclusive,
        priority: terms.priority,
        status: promotion.status(infra::clock::now()),
        coupons: CouponTotals {
            count: promotion.coupons.len(),
            redeemed: uses(|coupon| coupon.redeemed),
            reserved: uses(|coupon| coupon.reserved),
        },
    })
}

fn render_rule(rule: &Rule) -> RuleBody {
    let (kind, ppm, fixed) = match &rule.benefit {
        Benefit::Percent { ppm } => ("percent", Some(*ppm), None),
        Benefit::Fixed { amounts: fixed } => ("fixed", None, Some(amounts(fixed))),
    };
    let target = match rule.target {
        Target::Line => "line",
        Target::Order => "order",
        Target::Shipping => "shipping",
    };
    let Filter { product_ids, variant_ids, category_ids } = &rule.filter;
    RuleBody {
        kind,
        ppm,
        amounts: fixed,
        target,
        product_ids: product_ids.iter().map(|id| id.uuid()).collect(),
        variant_ids: variant_ids.iter().map(|id| id.uuid()).collect(),
        category_ids: category_ids.iter().map(|id| id.uuid()).collect(),
    }
}
