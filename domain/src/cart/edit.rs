//! What a shopper does to an open cart.

use std::collections::BTreeMap;

use super::{
    COUPONS_MAX, Cart, CartClaimed, CartCommand, CartContactSet, CartCoupon, CartEvent, CartExpired, CartLimits, CartLine, CartLineAdded,
    CartLineQuantityChanged, CartLineRemoved, CartMerged, CartRejection, CartSettingsChanged, CartShippingOptionChosen, ContactDraft,
    check_country, email_errors,
};
use crate::id::{CartKey, CustomerId, LineId, SubjectId};
use crate::personal::Personal;

impl Cart {
    /// Whatever a shopper does to an open cart.
    pub(super) fn edit(&self, command: CartCommand) -> Result<Vec<CartEvent>, CartRejection> {
        match command {
            CartCommand::AddLine { line, limits } => self.add_line(line, limits),
            CartCommand::SetQuantity { line_id, quantity, limits } => self.set_quantity(line_id, quantity, limits),
            CartCommand::RemoveLine { line_id, reason } => {
                self.existing(line_id)?;
                Ok(self.removed(line_id, &reason))
            }
            CartCommand::ApplyCoupon { promotion_id, coupon_id } => {
                let coupon = CartCoupon { promotion_id, coupon_id, reason: None };
                match self.coupons.iter().any(|coupon| coupon.coupon_id == coupon_id) {
                    true => Ok(vec![]),
                    false if self.coupons.len() >= COUPONS_MAX => Err(CartRejection::CouponLimit),
                    false => Ok(vec![CartEvent::CartCouponApplied(coupon)]),
                }
            }
            CartCommand::RemoveCoupon { coupon_id, reason } => {
                let applied = self.coupons.iter().find(|coupon| coupon.coupon_id == coupon_id);
                let removed = applied.map(|coupon| CartCoupon { reason, ..coupon.clone() });
                Ok(removed.into_iter().map(CartEvent::CartCouponRemoved).collect())
            }
            CartCommand::SetContact(contact) => self.set_contact(*contact),
            CartCommand::ChooseShippingOption { option_id, price_seen } => {
                self.check_currency(price_seen)?;
                let chosen = CartShippingOptionChosen { option_id, price_seen };
                let same = self.shipping_option.as_ref() == Some(&chosen);
                Ok(if same { vec![] } else { vec![CartEvent::CartShippingOptionChosen(chosen)] })
            }
            CartCommand::ChangeSettings(settings) => self.change_settings(settings),
            CartCommand::Claim { customer_id, subject_id } => self.claim(customer_id, subject_id),
            CartCommand::Merge { from_cart, lines, limits } => self.merge(from_cart, lines, limits),
            CartCommand::Expire => Ok(vec![CartEvent::CartExpired(CartExpired {})]),
            // Answered before, as they are not only for open carts.
            CartCommand::Create(_) | CartCommand::StartCheckout { .. } | CartCommand::Reopen { .. } | CartCommand::Complete { .. } => {
                Ok(vec![])
            }
        }
    }

    fn add_line(&self, line: CartLine, limits: CartLimits) -> Result<Vec<CartEvent>, CartRejection> {
        self.check_currency(line.price_seen)?;
        if line.quantity == 0 {
            return Err(CartRejection::QuantityZero);
        }
        if let Some(parent) = line.parent_line_id {
            self.existing(parent)?;
        }
        if let Some(same) = self.lines.iter().find(|current| current.joins(&line)) {
            let quantity = same.quantity.saturating_add(line.quantity);
            return self.set_quantity(same.line_id, quantity, limits);
        }
        if self.line(line.line_id).is_some() {
            return Err(CartRejection::LineExists { line_id: line.line_id });
        }
        check_quantity(line.quantity, limits)?;
        if self.lines.len() >= limits.lines_max {
            return Err(CartRejection::LineLimit { max: limits.lines_max });
        }
        Ok(vec![CartEvent::CartLineAdded(CartLineAdded::from(line))])
    }

    fn set_quantity(&self, line_id: LineId, quantity: u32, limits: CartLimits) -> Result<Vec<CartEvent>, CartRejection> {
        let line = self.existing(line_id)?;
        if quantity == 0 {
            return Ok(self.removed(line_id, "quantity_zero"));
        }
        if quantity == line.quantity {
            return Ok(vec![]);
        }
        check_quantity(quantity, limits)?;
        let changed = CartLineQuantityChanged { line_id, quantity };
        Ok(vec![CartEvent::CartLineQuantityChanged(changed)])
    }

    /// A line goes with those that hang on it.
    fn removed(&self, line_id: LineId, reason: &str) -> Vec<CartEvent> {
        let mut gone = vec![line_id];
        let mut next = 0;
        while let Some(parent) = gone.get(next).copied() {
            gone.extend(self.lines.iter().filter(|l| l.parent_line_id == Some(parent)).map(|l| l.line_id));
            next += 1;
        }
        let removed = gone.into_iter().map(|line_id| CartEvent::CartLineRemoved(CartLineRemoved { line_id, reason: reason.to_owned() }));
        removed.collect()
    }

    fn set_contact(&self, contact: ContactDraft) -> Result<Vec<CartEvent>, CartRejection> {
        let mut errors = email_errors(&contact.email, "/email");
        errors.extend(contact.shipping_address.errors("/shipping_address"));
        if let Some(billing) = &contact.billing_address {
            errors.extend(billing.errors("/billing_address"));
        }
        if !errors.is_empty() {
            return Err(CartRejection::ContactInvalid { errors });
        }
        let set = CartContactSet {
            subject_id: self.subject_id,
            ship_to: contact.shipping_address.ship_to(),
            email: Personal::Known(contact.email),
            phone: contact.phone.map(Personal::Known),
            shipping_address: Personal::Known(contact.shipping_address),
            billing_address: contact.billing_address.map(Personal::Known),
        };
        let same = self.contact.as_ref() == Some(&set);
        Ok(if same { vec![] } else { vec![CartEvent::CartContactSet(Box::new(set))] })
    }

    fn change_settings(&self, wanted: CartSettingsChanged) -> Result<Vec<CartEvent>, CartRejection> {
        check_country(wanted.country.as_ref())?;
        let changed = CartSettingsChanged {
            currency: wanted.currency.filter(|currency| Some(*currency) != self.currency),
            country: wanted.country.filter(|country| Some(country) != self.country.as_ref()),
            language: wanted.language.filter(|language| Some(language) != self.language.as_ref()),
        };
        // Prices that were seen, and a shipping option, are of the old currency.
        if changed.currency.is_some() && (!self.lines.is_empty() || self.shipping_option.is_some()) {
            return Err(CartRejection::CurrencyFixed);
        }
        let nothing = changed == CartSettingsChanged::default();
        Ok(if nothing { vec![] } else { vec![CartEvent::CartSettingsChanged(changed)] })
    }

    fn claim(&self, customer_id: CustomerId, subject_id: SubjectId) -> Result<Vec<CartEvent>, CartRejection> {
        match self.customer_id {
            Some(owner) if owner == customer_id => Ok(vec![]),
            Some(_) => Err(CartRejection::OtherCustomer),
            None => Ok(vec![CartEvent::CartClaimed(CartClaimed { customer_id, subject_id })]),
        }
    }

    /// More than the limits allow is cut off and not refused: a login must not fail on it. A line that
    /// hangs on another one hangs on what that has become here, and is left out with it.
    fn merge(&self, from_cart: CartKey, lines: Vec<CartLine>, limits: CartLimits) -> Result<Vec<CartEvent>, CartRejection> {
        let mut merged: Vec<CartLine> = Vec::new();
        let mut ids_here: BTreeMap<LineId, LineId> = BTreeMap::new();
        let mut room = limits.lines_max.saturating_sub(self.lines.len());
        for mut line in lines {
            self.check_currency(line.price_seen)?;
            let id_there = line.line_id;
            if let Some(parent) = line.parent_line_id {
                let Some(parent_here) = ids_here.get(&parent) else { continue };
                line.parent_line_id = Some(*parent_here);
            }
            if let Some(same) = merged.iter_mut().find(|current| current.joins(&line)) {
                ids_here.insert(id_there, same.line_id);
                same.quantity = same.quantity.saturating_add(line.quantity).min(limits.line_quantity_max);
                continue;
            }
            if let Some(same) = self.lines.iter().find(|current| current.joins(&line)) {
                let quantity = same.quantity.saturating_add(line.quantity);
                line = CartLine { quantity, ..same.clone() };
            } else if room > 0 && line.quantity > 0 && self.line(id_there).is_none() {
                room -= 1;
            } else {
                continue;
            }
            ids_here.insert(id_there, line.line_id);
            line.quantity = line.quantity.min(limits.line_quantity_max);
            merged.push(line);
        }
        merged.retain(|line| self.line(line.line_id) != Some(line));
        if merged.is_empty() {
            return Ok(vec![]);
        }
        Ok(vec![CartEvent::CartMerged(CartMerged { from_cart, lines: merged })])
    }
}

fn check_quantity(quantity: u32, limits: CartLimits) -> Result<(), CartRejection> {
    if quantity > limits.line_quantity_max {
        return Err(CartRejection::QuantityLimit { max: limits.line_quantity_max });
    }
    Ok(())
}
