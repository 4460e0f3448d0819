//! Money as requests and answers write it: minor units, currency, exponent.

use domain::money::{Currency, Money};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// An amount in minor units of a currency (ISO 4217).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct MoneyBody {
    /// In minor units: 1299 is 12.99 EUR.
    #[schema(example = 1299)]
    amount: i64,
    #[schema(example = "EUR")]
    currency: String,
    /// Decimals of the currency.
    #[schema(example = 2)]
    exponent: u8,
}

impl MoneyBody {
    /// `amount` in minor units.
    #[must_use]
    pub fn new(amount: i64, currency: Currency) -> Self {
        Self { amount, currency: currency.to_string(), exponent: currency.exponent() }
    }

    #[must_use]
    pub const fn amount(&self) -> i64 {
        self.amount
    }
}

impl From<Money> for MoneyBody {
    fn from(money: Money) -> Self {
        Self::new(money.amount(), money.currency())
    }
}

/// One amount for each currency.
pub fn amounts(amounts: &[Money]) -> Vec<MoneyBody> {
    amounts.iter().copied().map(MoneyBody::from).collect()
}

/// An amount as it comes in: a wrong `exponent` would make it a hundred times too large or too small, so it is refused.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(try_from = "MoneyDraft")]
pub struct Amount(pub Money);

/// An amount in minor units of a currency (ISO 4217).
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MoneyDraft {
    /// In minor units: 1299 is 12.99 EUR.
    #[schema(example = 1299)]
    amount: i64,
    #[schema(value_type = String, example = "EUR")]
    currency: Currency,
    /// Decimals of the currency; refused where it isn't that.
    exponent: Option<u8>,
}

/// An amount whose currency is known: minor units, or money in that currency.
#[derive(ToSchema)]
#[schema(as = AmountDraft)]
#[serde(untagged)]
#[expect(dead_code, reason = "the schema of what is read by hand, with the order's currency")]
pub enum AmountDraft {
    MinorUnits(i64),
    Money(MoneyDraft),
}

impl TryFrom<MoneyDraft> for Amount {
    type Error = String;

    fn try_from(draft: MoneyDraft) -> Result<Self, String> {
        let exponent = draft.currency.exponent();
        if draft.exponent.is_some_and(|said| said != exponent) {
            return Err(format!("{} has the exponent {exponent}: send minor units", draft.currency));
        }
        Money::new(draft.amount, draft.currency).map(Self).map_err(|error| error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_amount_in_another_exponent_is_refused() {
        let read = |text: &str| serde_json::from_str::<Amount>(text).map(|Amount(money)| money.amount());
        assert_eq!(read(r#"{"amount": 490, "currency": "EUR"}"#).unwrap(), 490);
        assert_eq!(read(r#"{"amount": 490, "currency": "EUR", "exponent": 2}"#).unwrap(), 490);
        assert!(read(r#"{"amount": 490, "currency": "EUR", "exponent": 0}"#).is_err());
        assert!(read(r#"{"amount": 490, "currency": "EUR", "cents": 1}"#).is_err());
    }
}
