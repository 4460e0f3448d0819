//! Ten thousand carts: every total is a sum of lines, and whatever is cut into parts sums up again.

use std::collections::BTreeMap;

use domain::cart::ShipTo;
use domain::id::{DiscountId, TaxId};
use domain::money::{Money, Rounding};
use domain::order::{CancelLines, Order, OrderCommand, OrderItem, OrderLine, OrderPlaced, Tender};
use domain::pricing::{DiscountTarget, LineDiscount, LineTax, Quote, QuoteRequest, ShippingOption, TaxRate, price};
use proptest::prelude::*;
use proptest::sample::{Index, select};

use crate::{discount, line, rate, request, uuid};

/// A cart, and where its lines are cut into parts.
#[derive(Clone, Debug)]
struct Case {
    request: QuoteRequest,
    cuts: Vec<(Index, Index)>,
}

fn any_case() -> impl Strategy<Value = Case> {
    // No decimals, two, three.
    let setting = (select(vec!["JPY", "EUR", "KWD"]), any::<bool>(), any::<bool>());
    let price = prop_oneof![4 => 0..20_000_i64, 1 => 0..50_000_000_i64];
    let quantity = prop_oneof![4 => 1..6_u32, 1 => 1..1000_u32];
    let lines = prop::collection::vec((price, quantity, 0..3_usize), 1..=20);
    let wanted = prop_oneof![4 => 0..30_000_i64, 1 => 0..5_000_000_000_i64];
    let discounts = prop::collection::vec((0..5_usize, any::<Index>(), wanted), 0..6);
    let rates = prop::collection::vec((0..3_usize, 0..400_000_u32, any::<bool>(), any::<bool>(), 0..4_usize), 0..8);
    let shipping = prop::option::of(0..10_000_i64);
    let cuts = prop::collection::vec((any::<Index>(), any::<Index>()), 20);
    (setting, lines, discounts, rates, shipping, cuts).prop_map(|((currency, include, even), lines, discounts, rates, shipping, cuts)| {
        let mut request = request(currency, include);
        let money = |amount| Money::new(amount, currency.parse().unwrap()).unwrap();
        request.rounding = if even { Rounding::HalfEven } else { Rounding::HalfUp };
        request.ship_to = Some(ShipTo { country: "DE".to_owned(), region: Some("BY".to_owned()) });
        for (n, (unit, quantity, category)) in lines.into_iter().enumerate() {
            request.lines.push(line(n, money(unit), quantity, &category.to_string()));
        }
        for (n, (target, of, amount)) in discounts.into_iter().enumerate() {
            let target = match target {
                0 => DiscountTarget::Shipping,
                1 | 2 => DiscountTarget::Order,
                3 => DiscountTarget::Line { line_id: of.get(&request.lines).line_id },
                _ => DiscountTarget::Lines { line_ids: request.lines[of.index(request.lines.len())..].iter().map(|l| l.line_id).collect() },
            };
            request.discounts.push(discount(n, target, money(amount)));
        }
        for (n, (category, ppm, compound, applies_to_shipping, place)) in rates.into_iter().enumerate() {
            let (country, region) = [("DE", None), ("DE", Some("BY")), ("DE", Some("BE")), ("FR", None)][place];
            let (country, region) = (country.to_owned(), region.map(str::to_owned));
            request.tax_rates.push(TaxRate { compound, applies_to_shipping, country, region, ..rate(n, &category.to_string(), ppm) });
        }
        request.shipping = shipping.map(|price| ShippingOption {
            method_id: domain::id::MethodId::new(uuid(9)),
            title: "Parcel".to_owned(),
            price: money(price),
            tax_category: "0".to_owned(),
        });
        Case { request, cuts }
    })
}

/// What stands with a line, an article's or the shipping's.
struct Line<'a> {
    subtotal: Money,
    discounts: &'a [LineDiscount],
    taxes: &'a [LineTax],
    net: Money,
    tax: Money,
    gross: Money,
}

fn all_lines(quote: &Quote) -> Vec<Line<'_>> {
    let mut all = Vec::new();
    for line in &quote.lines {
        let (discounts, taxes) = (line.discounts.as_slice(), line.taxes.as_slice());
        all.push(Line { subtotal: line.subtotal, discounts, taxes, net: line.net, tax: line.tax, gross: line.gross });
    }
    for line in &quote.shipping_lines {
        let (discounts, taxes) = (line.discounts.as_slice(), line.taxes.as_slice());
        all.push(Line { subtotal: line.subtotal, discounts, taxes, net: line.net, tax: line.tax, gross: line.gross });
    }
    all
}

fn sum(amounts: impl IntoIterator<Item = Money>) -> i64 {
    amounts.into_iter().map(Money::amount).sum()
}

fn each_line_adds_up(request: &QuoteRequest, quote: &Quote) {
    for line in all_lines(quote) {
        assert!(!line.net.is_negative() && !line.tax.is_negative() && !line.gross.is_negative());
        assert_eq!(line.net.plus(line.tax).unwrap(), line.gross);
        assert_eq!(sum(line.taxes.iter().map(|tax| tax.amount)), line.tax.amount());
        let left = line.subtotal.amount() - sum(line.discounts.iter().map(|discount| discount.amount));
        assert_eq!(left, if request.prices_include_tax { line.gross.amount() } else { line.net.amount() });
    }
}

fn totals_are_sums_of_lines(request: &QuoteRequest, quote: &Quote) {
    let (totals, lines) = (&quote.totals, all_lines(quote));
    assert_eq!(totals.subtotal.amount(), sum(quote.lines.iter().map(|line| line.subtotal)));
    assert_eq!(totals.shipping.amount(), sum(quote.shipping_lines.iter().map(|line| line.subtotal)));
    assert_eq!(totals.discount.amount(), sum(lines.iter().flat_map(|line| line.discounts).map(|discount| discount.amount)));
    assert_eq!(totals.tax.amount(), sum(lines.iter().map(|line| line.tax)));
    assert_eq!(totals.total.amount(), sum(lines.iter().map(|line| line.gross)));
    let on_top = if request.prices_include_tax { 0 } else { totals.tax.amount() };
    assert_eq!(totals.total.amount(), totals.subtotal.amount() - totals.discount.amount() + totals.shipping.amount() + on_top);
}

/// What a discount was granted is what its lines have of it: all that was wanted, or all that was left.
fn discounts_are_allocated_exactly(request: &QuoteRequest, quote: &Quote) {
    let mut shares: BTreeMap<DiscountId, i64> = BTreeMap::new();
    for share in all_lines(quote).iter().flat_map(|line| line.discounts) {
        assert!(share.amount.amount() > 0, "a share of nothing leaves no trace");
        *shares.entry(share.discount_id).or_default() += share.amount.amount();
    }
    assert_eq!(quote.discounts.len(), request.discounts.len());
    let kept = if request.prices_include_tax { |line: &Line<'_>| line.gross } else { |line: &Line<'_>| line.net };
    for granted in &quote.discounts {
        let wanted = request.discounts.iter().find(|wanted| wanted.discount_id == granted.discount_id).unwrap();
        assert_eq!(granted.amount.amount(), shares.get(&granted.discount_id).copied().unwrap_or_default());
        assert!(granted.amount.amount() <= wanted.amount.amount());
        let all_granted = granted.amount == wanted.amount;
        let lines = all_lines(quote);
        match &granted.target {
            _ if all_granted => {}
            DiscountTarget::Order => assert_eq!(sum(lines[..quote.lines.len()].iter().map(kept)), 0),
            DiscountTarget::Shipping => assert_eq!(sum(lines[quote.lines.len()..].iter().map(kept)), 0),
            DiscountTarget::Line { line_id } => {
                let at = quote.lines.iter().position(|line| line.line_id == *line_id).unwrap();
                assert!(kept(&lines[at]).is_zero());
            }
            DiscountTarget::Lines { line_ids } => {
                let among = quote.lines.iter().zip(&lines).filter(|(line, _)| line_ids.contains(&line.line_id));
                assert_eq!(sum(among.map(|(_, line)| kept(line))), 0);
            }
        }
    }
}

/// Each tax is the sum of its shares, on the net of the lines that have it, and only where it applies.
fn taxes_are_sums_of_shares(request: &QuoteRequest, quote: &Quote) {
    let mut sums: BTreeMap<TaxId, (i64, i64)> = BTreeMap::new();
    for line in all_lines(quote) {
        for tax in line.taxes {
            let (taxable, amount) = sums.entry(tax.tax_id).or_default();
            *taxable += line.net.amount();
            *amount += tax.amount.amount();
        }
    }
    for tax in &quote.taxes {
        assert_eq!(sums.remove(&tax.tax_id), Some((tax.taxable.amount(), tax.amount.amount())));
        let rate = request.tax_rates.iter().find(|rate| rate.tax_id == tax.tax_id).unwrap();
        assert!(rate.country == "DE" && rate.region.as_deref().is_none_or(|region| region == "BY"));
        assert_eq!((tax.rate_ppm, tax.compound, tax.included), (rate.rate_ppm, rate.compound, request.prices_include_tax));
    }
    assert!(sums.is_empty());
    for (wanted, line) in request.lines.iter().zip(&quote.lines) {
        let there = |rate: &&TaxRate| rate.country == "DE" && rate.region.as_deref() != Some("BE") && rate.category == wanted.tax_category;
        assert_eq!(line.taxes.len(), request.tax_rates.iter().filter(there).count());
    }
}

fn placed(quote: Quote) -> OrderPlaced {
    let golden = include_str!("../../golden/OrderPlaced.v1.json");
    let facts: OrderPlaced = serde_json::from_str(golden).unwrap();
    let item = OrderItem {
        kind: "product".to_owned(),
        variant_id: None,
        product_id: None,
        sku: None,
        title: "Moka pot".to_owned(),
        options: vec![],
        parent_line_id: None,
        price_source: "price_list".to_owned(),
    };
    let tender = Tender { amount: quote.totals.total, ..facts.tenders[0].clone() };
    OrderPlaced {
        currency: quote.currency,
        prices_include_tax: quote.prices_include_tax,
        rounding: quote.rounding,
        lines: quote.lines.into_iter().map(|line| OrderLine::new(item.clone(), line)).collect(),
        shipping_lines: quote.shipping_lines,
        discounts: quote.discounts,
        taxes: quote.taxes,
        fees: vec![],
        totals: quote.totals,
        tenders: vec![tender],
        ..facts
    }
}

/// The units of each line in up to three parts that are cancelled, or refunded, one after the other.
fn parts_sum_to_the_lines(quote: Quote, cuts: &[(Index, Index)]) {
    let facts = placed(quote);
    let (lines, shipping) = (facts.lines.clone(), sum(facts.shipping_lines.iter().map(|line| line.gross)));
    let mut order = Order::default();
    let mut decide = |command| {
        for event in order.decide(command).unwrap() {
            order.apply(&event);
        }
        order.placed().unwrap().clone()
    };
    let mut owed = decide(OrderCommand::Place(Box::new(facts))).amount_owed().unwrap();
    let ends: Vec<_> = lines.iter().zip(cuts).map(|(line, cut)| ends(line.quantity, *cut)).collect();
    for part in 0..3 {
        let units = |(line, ends): (&OrderLine, &[u32; 4])| (line.line_id, ends[part + 1] - ends[part]);
        let units: BTreeMap<_, _> = lines.iter().zip(&ends).map(units).filter(|(_, units)| *units > 0).collect();
        if units.is_empty() {
            continue;
        }
        let order = decide(OrderCommand::CancelLines(CancelLines {
            cancellation_id: domain::id::CancellationId::new(uuid(part)),
            lines: units,
            reason: "changed_mind".to_owned(),
            note: None,
            by: "shopper".to_owned(),
        }));
        let left = order.amount_owed().unwrap();
        assert!(!left.is_negative() && left.amount() <= owed.amount());
        owed = left;
        for (line, ends) in lines.iter().zip(&ends) {
            let refund = |of: Money| sum((0..=part).map(|part| of.of_units(line.quantity, ends[part], ends[part + 1]).unwrap()));
            let (quantity, tax, gross) = order
                .cancelled
                .get(&line.line_id)
                .map_or((0, 0, 0), |cancelled| (cancelled.quantity, cancelled.tax.amount(), cancelled.gross.amount()));
            assert_eq!((quantity, tax, gross), (ends[part + 1], refund(line.tax), refund(line.gross)));
        }
    }
    assert_eq!(owed.amount(), shipping);
    let cancelled = decide(OrderCommand::Cancel { reason: String::new(), by: String::new() });
    for line in lines {
        let sums = &cancelled.cancelled[&line.line_id];
        assert_eq!((sums.quantity, sums.net, sums.tax, sums.gross), (line.quantity, line.net, line.tax, line.gross));
    }
    assert_eq!(cancelled.stage.as_str(), "cancelled");
}

/// Where three parts of so many units begin and end; some may be empty.
fn ends(quantity: u32, (one, other): (Index, Index)) -> [u32; 4] {
    let until = |cut: Index| u32::try_from(cut.index(quantity as usize + 1)).unwrap();
    let (one, other) = (until(one), until(other));
    [0, one.min(other), one.max(other), quantity]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    #[test]
    fn whatever_is_in_a_cart_its_sums_are_exact(case in any_case()) {
        let Case { request, cuts } = case;
        let quote = price(&request).unwrap();
        prop_assert_eq!(&price(&request).unwrap(), &quote, "the same request gives the same quote");
        each_line_adds_up(&request, &quote);
        totals_are_sums_of_lines(&request, &quote);
        discounts_are_allocated_exactly(&request, &quote);
        taxes_are_sums_of_shares(&request, &quote);
        parts_sum_to_the_lines(quote, &cuts);
    }
}
