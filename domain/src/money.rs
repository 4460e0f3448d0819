//! Integer money: currencies, rounding, allocation, tax arithmetic.
//!
//! An amount is a whole number of minor units (ISO 4217 exponent) and never leaves ±(2^53 − 1), so
//! that every JSON reader gets it exactly. Arithmetic is checked and done in 128 bits; nothing here
//! rounds but what is told how to. The vectors in `golden/money_vectors.json` are the contract.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::LazyLock;

use serde::{Deserialize, Serialize};

/// The largest amount, in minor units: what a 64-bit float still holds exactly.
pub const AMOUNT_MAX: i64 = (1 << 53) - 1;

const PPM: i128 = 1_000_000;

/// An amount in minor units of a currency.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "StoredMoney")]
pub struct Money {
    amount: i64,
    currency: Currency,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MoneyError {
    #[error("the amount is out of range")]
    Overflow,
    #[error("{left} and {right} can't be added up")]
    CurrencyMismatch { left: Currency, right: Currency },
    #[error("{code} is not an ISO 4217 currency")]
    UnknownCurrency { code: String },
    #[error("{code} has no minor unit and can't be charged")]
    NoMinorUnit { code: String },
    #[error("{text} is not a plain decimal number")]
    NotANumber { text: String },
    #[error("{currency} has {decimals} decimals and no more")]
    TooManyDecimals { currency: Currency, decimals: u8 },
    #[error("amounts in {currency} have the exponent {exponent}; leave it out, or name that one")]
    ExponentWrong { currency: Currency, exponent: u8 },
    #[error("a price can't be negative")]
    Negative,
}

impl MoneyError {
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Overflow => "money_overflow",
            Self::CurrencyMismatch { .. } => "currency_mismatch",
            Self::UnknownCurrency { .. } => "currency_unknown",
            Self::NoMinorUnit { .. } => "currency_without_minor_unit",
            Self::NotANumber { .. } => "price_not_a_number",
            Self::TooManyDecimals { .. } => "price_too_many_decimals",
            Self::ExponentWrong { .. } => "exponent_wrong",
            Self::Negative => "price_negative",
        }
    }
}

impl Money {
    pub fn new(amount: i64, currency: Currency) -> Result<Self, MoneyError> {
        if (-AMOUNT_MAX..=AMOUNT_MAX).contains(&amount) { Ok(Self { amount, currency }) } else { Err(MoneyError::Overflow) }
    }

    #[must_use]
    pub const fn zero(currency: Currency) -> Self {
        Self { amount: 0, currency }
    }

    /// In minor units.
    #[must_use]
    pub const fn amount(self) -> i64 {
        self.amount
    }

    #[must_use]
    pub const fn currency(self) -> Currency {
        self.currency
    }

    #[must_use]
    pub const fn is_zero(self) -> bool {
        self.amount == 0
    }

    #[must_use]
    pub const fn is_negative(self) -> bool {
        self.amount < 0
    }

    pub fn plus(self, other: Self) -> Result<Self, MoneyError> {
        self.same_currency(other)?;
        Self::new(self.amount + other.amount, self.currency)
    }

    pub fn minus(self, other: Self) -> Result<Self, MoneyError> {
        self.same_currency(other)?;
        Self::new(self.amount - other.amount, self.currency)
    }

    pub fn times(self, factor: u32) -> Result<Self, MoneyError> {
        let product = self.amount.checked_mul(i64::from(factor)).ok_or(MoneyError::Overflow)?;
        Self::new(product, self.currency)
    }

    /// The sum of any number of amounts in one currency; nothing sums to zero.
    pub fn sum(currency: Currency, amounts: impl IntoIterator<Item = Self>) -> Result<Self, MoneyError> {
        amounts.into_iter().try_fold(Self::zero(currency), Self::plus)
    }

    /// The part of this amount that falls on the units `from..to` of `quantity` equal units. Parts are
    /// cut from the running total, so that however the units are grouped the parts sum exactly.
    pub fn of_units(self, quantity: u32, from: u32, to: u32) -> Result<Self, MoneyError> {
        let until = |units: u32| -> i128 {
            if quantity == 0 {
                return 0;
            }
            (i128::from(self.amount) * i128::from(units.min(quantity))).div_euclid(i128::from(quantity))
        };
        Self::new(narrow(until(to) - until(from))?, self.currency)
    }

    /// Reads a price as people write it in files: digits, optionally a point and decimals. Zeros
    /// beyond the currency's decimals are harmless ("1980.00" in JPY), anything else there is refused,
    /// since dropping it would change the price.
    pub fn parse_decimal(text: &str, currency: Currency) -> Result<Self, MoneyError> {
        let text = text.trim();
        let not_a_number = || MoneyError::NotANumber { text: text.to_owned() };
        let digits_only = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());

        let (negative, unsigned) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (whole, decimals) = unsigned.split_once('.').unwrap_or((unsigned, "0"));
        if !digits_only(whole) || !digits_only(decimals) {
            return Err(not_a_number());
        }
        if negative {
            return Err(MoneyError::Negative);
        }
        let exponent = currency.exponent();
        let decimals = decimals.trim_end_matches('0');
        if decimals.len() > usize::from(exponent) {
            return Err(MoneyError::TooManyDecimals { currency, decimals: exponent });
        }
        let minor = format!("{whole}{decimals:0<width$}", width = usize::from(exponent));
        let amount = minor.parse::<i64>().map_err(|_| MoneyError::Overflow)?;
        Self::new(amount, currency)
    }

    fn same_currency(self, other: Self) -> Result<(), MoneyError> {
        if self.currency == other.currency {
            Ok(())
        } else {
            Err(MoneyError::CurrencyMismatch { left: self.currency, right: other.currency })
        }
    }
}

/// For people and logs: `12.99 EUR`.
impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let exponent = usize::from(self.currency.exponent());
        let sign = if self.amount < 0 { "-" } else { "" };
        let digits = format!("{:0>width$}", self.amount.unsigned_abs(), width = exponent + 1);
        let (whole, decimals) = digits.split_at(digits.len() - exponent);
        let point = if exponent == 0 { "" } else { "." };
        write!(f, "{sign}{whole}{point}{decimals} {}", self.currency)
    }
}

/// How a half is rounded; an order keeps the mode that it was priced with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rounding {
    /// Half away from zero.
    #[default]
    HalfUp,
    /// Half to the even neighbour.
    HalfEven,
}

impl Rounding {
    /// `numerator / denominator`, rounded to a whole number; the denominator is positive.
    fn divide(self, numerator: i128, denominator: i128) -> i128 {
        let floor = numerator.div_euclid(denominator);
        let twice_rest = numerator.rem_euclid(denominator) * 2;
        let up = match twice_rest.cmp(&denominator) {
            std::cmp::Ordering::Less => false,
            std::cmp::Ordering::Greater => true,
            std::cmp::Ordering::Equal => match self {
                Self::HalfUp => numerator >= 0,
                Self::HalfEven => floor % 2 != 0,
            },
        };
        floor + i128::from(up)
    }
}

/// The tax on top of a net amount.
pub fn tax_exclusive(net: i64, rate_ppm: u32, rounding: Rounding) -> Result<i64, MoneyError> {
    narrow(rounding.divide(i128::from(net) * i128::from(rate_ppm), PPM))
}

/// The tax inside a gross amount.
pub fn tax_inclusive(gross: i64, rate_ppm: u32, rounding: Rounding) -> Result<i64, MoneyError> {
    let rate = i128::from(rate_ppm);
    narrow(rounding.divide(i128::from(gross) * rate, PPM + rate))
}

/// The part of an amount that is `ppm` parts per million of it: a discount in percent.
pub fn part(amount: i64, ppm: u32, rounding: Rounding) -> Result<i64, MoneyError> {
    narrow(rounding.divide(i128::from(amount) * i128::from(ppm), PPM))
}

/// Cuts a discount into parts for lines of the given amounts: integer largest remainder (ties: larger
/// remainder, larger weight, lower index). A line never gets more than its amount, so what exceeds
/// the sum of all lines is dropped.
pub fn allocate(amount: i64, weights: &[i64]) -> Result<Vec<i64>, MoneyError> {
    let sum: i128 = weights.iter().copied().map(i128::from).sum();
    split(narrow(i128::from(amount).min(sum))?, weights)
}

/// Cuts an amount that isn't negative into parts in proportion to the weights, by the same rule and
/// exactly. Without any weight there is nobody to give it to and all parts are zero.
pub fn split(amount: i64, weights: &[i64]) -> Result<Vec<i64>, MoneyError> {
    if amount < 0 || weights.iter().any(|weight| *weight < 0) {
        return Err(MoneyError::Negative);
    }
    let sum: i128 = weights.iter().copied().map(i128::from).sum();
    if sum == 0 {
        return Ok(vec![0; weights.len()]);
    }
    let mut parts = Vec::with_capacity(weights.len());
    let mut by_remainder = Vec::with_capacity(weights.len());
    let mut left = amount;
    for (index, weight) in weights.iter().enumerate() {
        let exact = i128::from(amount) * i128::from(*weight);
        let part = narrow(exact / sum)?;
        left -= part;
        parts.push(part);
        by_remainder.push((exact % sum, *weight, index));
    }
    by_remainder.sort_by(|a, b| (b.0, b.1).cmp(&(a.0, a.1)).then(a.2.cmp(&b.2)));
    for (_, _, index) in by_remainder {
        if left == 0 {
            break;
        }
        parts[index] += 1;
        left -= 1;
    }
    Ok(parts)
}

fn narrow(amount: i128) -> Result<i64, MoneyError> {
    i64::try_from(amount).map_err(|_| MoneyError::Overflow)
}

#[derive(Deserialize)]
struct StoredMoney {
    amount: i64,
    currency: Currency,
    /// Stored money has none; where a caller names one, it must be the currency's.
    #[serde(default)]
    exponent: Option<u8>,
}

impl TryFrom<StoredMoney> for Money {
    type Error = MoneyError;

    fn try_from(stored: StoredMoney) -> Result<Self, MoneyError> {
        match stored.exponent {
            Some(exponent) if exponent != stored.currency.exponent() => {
                Err(MoneyError::ExponentWrong { currency: stored.currency, exponent: stored.currency.exponent() })
            }
            _ => Self::new(stored.amount, stored.currency),
        }
    }
}

/// An ISO 4217 currency that has a minor unit (also if that is the unit itself, as in JPY).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Currency([u8; 3]);

#[derive(Deserialize)]
struct TableRow {
    numeric: u16,
    exponent: Option<u8>,
    name: String,
}

/// The table as published; regenerated by replacing the file.
static TABLE: LazyLock<BTreeMap<String, TableRow>> =
    LazyLock::new(|| serde_json::from_str(include_str!("../golden/iso4217.json")).unwrap_or_default());

impl Currency {
    /// All currencies that can be charged, by code.
    pub fn all() -> impl Iterator<Item = Self> {
        TABLE.keys().filter_map(|code| code.parse().ok())
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    /// The number of decimals, 0 to 4.
    #[must_use]
    pub fn exponent(self) -> u8 {
        self.row().and_then(|row| row.exponent).unwrap_or_default()
    }

    /// The ISO 4217 numeric code.
    #[must_use]
    pub fn numeric(self) -> u16 {
        self.row().map(|row| row.numeric).unwrap_or_default()
    }

    /// The English name.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.row().map(|row| row.name.as_str()).unwrap_or_default()
    }

    fn row(self) -> Option<&'static TableRow> {
        TABLE.get(self.as_str())
    }
}

impl FromStr for Currency {
    type Err = MoneyError;

    fn from_str(code: &str) -> Result<Self, MoneyError> {
        let unknown = || MoneyError::UnknownCurrency { code: code.to_owned() };
        let row = TABLE.get(code).ok_or_else(unknown)?;
        if row.exponent.is_none() {
            return Err(MoneyError::NoMinorUnit { code: code.to_owned() });
        }
        code.as_bytes().try_into().map(Self).map_err(|_| unknown())
    }
}

impl TryFrom<String> for Currency {
    type Error = MoneyError;

    fn try_from(code: String) -> Result<Self, MoneyError> {
        code.parse()
    }
}

impl From<Currency> for String {
    fn from(currency: Currency) -> Self {
        currency.as_str().to_owned()
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
