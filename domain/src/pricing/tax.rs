//! Tax on and in the amounts of lines.

use std::collections::BTreeMap;

use super::{Jurisdiction, LineTax, QuoteRequest, Tax, TaxRate};
use crate::id::TaxId;
use crate::money::{self, Money, MoneyError, Rounding};

/// The rates on goods of a category at the destination: plain ones first, then those on top of them.
pub(super) fn rates_for<'a>(request: &'a QuoteRequest, tax_category: &str, applies: impl Fn(&TaxRate) -> bool) -> Vec<&'a TaxRate> {
    let Some(ship_to) = &request.ship_to else {
        return vec![];
    };
    let there = |rate: &&TaxRate| {
        rate.country == ship_to.country
            && (rate.region.is_none() || rate.region == ship_to.region)
            && rate.category == tax_category
            && applies(rate)
    };
    let mut rates: Vec<_> = request.tax_rates.iter().filter(there).collect();
    rates.sort_by_key(|rate| rate.compound);
    rates
}

pub(super) struct Taxed {
    pub(super) net: Money,
    pub(super) tax: Money,
    pub(super) gross: Money,
    pub(super) taxes: Vec<LineTax>,
}

/// The taxes on (or in) an amount, rounded one by one.
pub(super) fn tax_on(request: &QuoteRequest, amount: Money, rates: &[&TaxRate]) -> Result<Taxed, MoneyError> {
    let currency = request.currency;
    let amounts = if request.prices_include_tax {
        included(amount.amount(), rates, request.rounding)?
    } else {
        on_top(amount.amount(), rates, request.rounding)?
    };
    let mut taxes = Vec::with_capacity(rates.len());
    for (rate, amount) in rates.iter().zip(amounts) {
        taxes.push(LineTax { tax_id: rate.tax_id, amount: Money::new(amount, currency)? });
    }
    let tax = Money::sum(currency, taxes.iter().map(|tax| tax.amount))?;
    let (net, gross) = if request.prices_include_tax { (amount.minus(tax)?, amount) } else { (amount, amount.plus(tax)?) };
    Ok(Taxed { net, tax, gross, taxes })
}

fn on_top(net: i64, rates: &[&TaxRate], rounding: Rounding) -> Result<Vec<i64>, MoneyError> {
    let mut amounts = Vec::with_capacity(rates.len());
    let mut plain_sum = 0;
    for rate in rates {
        let base = if rate.compound { net + plain_sum } else { net };
        let amount = money::tax_exclusive(base, rate.rate_ppm, rounding)?;
        if !rate.compound {
            plain_sum += amount;
        }
        amounts.push(amount);
    }
    Ok(amounts)
}

/// The compound rates are peeled off together, then the plain ones; what was rounded once is shared
/// among them by largest remainder, so that the parts sum to it.
fn included(gross: i64, rates: &[&TaxRate], rounding: Rounding) -> Result<Vec<i64>, MoneyError> {
    let (compound, plain): (Vec<_>, Vec<_>) = rates.iter().map(|rate| (rate.compound, rate.rate_ppm)).partition(|(compound, _)| *compound);
    let peel = |gross: i64, rates: &[(bool, u32)]| -> Result<Vec<i64>, MoneyError> {
        let weights: Vec<i64> = rates.iter().map(|(_, ppm)| i64::from(*ppm)).collect();
        let sum = u32::try_from(weights.iter().sum::<i64>()).map_err(|_| MoneyError::Overflow)?;
        money::split(money::tax_inclusive(gross, sum, rounding)?, &weights)
    };
    let on_top_of_plain = peel(gross, &compound)?;
    let mut amounts = peel(gross - on_top_of_plain.iter().sum::<i64>(), &plain)?;
    amounts.extend(on_top_of_plain);
    Ok(amounts)
}

/// Sums the taxes up over the lines, in the order in which they first appear.
pub(super) struct TaxSums {
    included: bool,
    pub(super) sums: Vec<Tax>,
    places: BTreeMap<TaxId, usize>,
}

impl TaxSums {
    pub(super) const fn new(request: &QuoteRequest) -> Self {
        Self { included: request.prices_include_tax, sums: Vec::new(), places: BTreeMap::new() }
    }

    pub(super) fn add(&mut self, taxed: &Taxed, rates: &[&TaxRate]) -> Result<(), MoneyError> {
        for (rate, line_tax) in rates.iter().zip(&taxed.taxes) {
            let place = *self.places.entry(rate.tax_id).or_insert(self.sums.len());
            if place == self.sums.len() {
                self.sums.push(Tax {
                    tax_id: rate.tax_id,
                    title: rate.title.clone(),
                    jurisdiction: Jurisdiction { country: rate.country.clone(), region: rate.region.clone(), code: None },
                    rate_ppm: rate.rate_ppm,
                    compound: rate.compound,
                    included: self.included,
                    taxable: Money::zero(taxed.net.currency()),
                    amount: Money::zero(taxed.net.currency()),
                });
            }
            let sum = &mut self.sums[place];
            sum.taxable = sum.taxable.plus(taxed.net)?;
            sum.amount = sum.amount.plus(line_tax.amount)?;
        }
        Ok(())
    }
}
