//! Making and changing a promotion: what a merchant may say.

use std::collections::BTreeSet;

use super::{
    Benefit, Dates, FILTER_MAX, Promotion, PromotionChanged, PromotionCreated, PromotionEvent, PromotionRejection, Rule, TITLE_CHARS_MAX,
    Target, WHOLE_PPM,
};
use crate::money::Money;

impl Promotion {
    pub(super) fn create(&self, created: PromotionCreated) -> Result<Vec<PromotionEvent>, PromotionRejection> {
        debug_assert!(self.terms.is_none(), "what exists was refused before");
        check(&created)?;
        Ok(vec![PromotionEvent::PromotionCreated(Box::new(created))])
    }

    /// Whether it is automatic stays as it is: carts have its coupons.
    pub(super) fn change(&self, terms: &PromotionCreated, wanted: PromotionChanged) -> Result<Vec<PromotionEvent>, PromotionRejection> {
        if self.ended_at.is_some() {
            return Err(PromotionRejection::Ended);
        }
        let changed = PromotionChanged {
            title: wanted.title.filter(|title| *title != terms.title),
            rule: wanted.rule.filter(|rule| *rule != terms.rule),
            minimum: wanted.minimum.filter(|minimum| *minimum != terms.minimum),
            dates: wanted.dates.filter(|dates| *dates != terms.dates),
            exclusive: wanted.exclusive.filter(|exclusive| *exclusive != terms.exclusive),
            priority: wanted.priority.filter(|priority| *priority != terms.priority),
        };
        if changed == PromotionChanged::default() {
            return Ok(vec![]);
        }
        let mut after = terms.clone();
        after.take(&changed);
        check(&after)?;
        Ok(vec![PromotionEvent::PromotionChanged(Box::new(changed))])
    }
}

impl PromotionCreated {
    pub(super) fn take(&mut self, changed: &PromotionChanged) {
        let PromotionChanged { title, rule, minimum, dates, exclusive, priority } = changed.clone();
        self.title = title.unwrap_or_else(|| std::mem::take(&mut self.title));
        if let Some(rule) = rule {
            self.rule = rule;
        }
        if let Some(minimum) = minimum {
            self.minimum = minimum;
        }
        self.dates = dates.unwrap_or(self.dates);
        self.exclusive = exclusive.unwrap_or(self.exclusive);
        self.priority = priority.unwrap_or(self.priority);
    }
}

fn check(terms: &PromotionCreated) -> Result<(), PromotionRejection> {
    let title = terms.title.trim();
    if title.is_empty() || title.chars().count() > TITLE_CHARS_MAX {
        return Err(PromotionRejection::TitleInvalid);
    }
    check_rule(&terms.rule)?;
    if !is_one_per_currency(&terms.minimum) || terms.minimum.iter().any(|amount| amount.is_negative()) {
        return Err(PromotionRejection::MinimumInvalid);
    }
    match terms.dates {
        Dates { starts_at: Some(start), ends_at: Some(end) } if end <= start => Err(PromotionRejection::DatesInvalid),
        _ => Ok(()),
    }
}

fn check_rule(rule: &Rule) -> Result<(), PromotionRejection> {
    match &rule.benefit {
        Benefit::Percent { ppm } if *ppm == 0 || *ppm > WHOLE_PPM => return Err(PromotionRejection::PercentInvalid),
        Benefit::Fixed { amounts } if amounts.is_empty() || !is_one_per_currency(amounts) || amounts.iter().any(|a| a.amount() <= 0) => {
            return Err(PromotionRejection::AmountsInvalid);
        }
        _ => {}
    }
    let filter = &rule.filter;
    let longest = filter.product_ids.len().max(filter.variant_ids.len()).max(filter.category_ids.len());
    if (!filter.is_empty() && rule.target != Target::Line) || longest > FILTER_MAX {
        return Err(PromotionRejection::FilterInvalid);
    }
    Ok(())
}

fn is_one_per_currency(amounts: &[Money]) -> bool {
    let currencies: BTreeSet<String> = amounts.iter().map(|amount| amount.currency().to_string()).collect();
    currencies.len() == amounts.len()
}
