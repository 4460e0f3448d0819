//! The options of a product: what its first row names, with every value that a row has.

use commands::catalog;
use domain::catalog::{OptionValue, ProductOption, Text};
use domain::id::{OptionId, ValueId};

use super::columns::{Field, Row};
use super::product::{Reading, VariantRow};

/// The value that stands for "no options".
const NO_OPTIONS: &str = "default title";

/// An option, and its values in the order of the file.
pub struct ImportedOption {
    pub number: u8,
    pub option_id: OptionId,
    name: Text,
    values: Vec<(ValueId, Text)>,
}

impl ImportedOption {
    pub fn drafted(&self) -> ProductOption {
        let values = self.values.iter().map(|(value_id, label)| OptionValue { value_id: *value_id, label: label.clone() });
        ProductOption { option_id: self.option_id, name: self.name.clone(), values: values.collect() }
    }

    /// The value with this label, and what it is called by.
    pub fn value(&self, label: &Text) -> Option<(ValueId, &str)> {
        let (value_id, known) = self.values.iter().find(|(_, known)| is_same(known, label))?;
        Some((*value_id, first_words(known)))
    }

    pub fn label(&self) -> &str {
        first_words(&self.name)
    }

    fn add(&mut self, label: Text) {
        if let Some((_, known)) = self.values.iter_mut().find(|(_, known)| is_same(known, &label)) {
            known.extend(label);
        } else if !label.is_empty() {
            self.values.push((catalog::value_id(self.option_id, first_words(&label)), label));
        }
    }
}

impl Reading<'_> {
    /// The options that the first row names, with every value that a row has.
    pub fn options(&mut self, first: &Row, rows: &[VariantRow<'_>]) -> Vec<ImportedOption> {
        let mut options: Vec<ImportedOption> = Vec::new();
        for number in 1..=self.columns.options() {
            let (name_field, value_field) = (Field::OptionName(number), Field::OptionValue(number));
            let mut name = first.text(self.columns, name_field, &self.terms.language);
            if let (true, true, Some(of)) = (name.is_empty(), self.columns.has_master_rows, rows.first()) {
                name = of.row.text(self.columns, name_field, &self.terms.language);
            }
            let label = |of: &VariantRow<'_>| of.row.text(self.columns, value_field, &self.terms.language);
            let labels: Vec<Text> = rows.iter().map(label).filter(|label| !label.is_empty()).collect();
            let listed = first.get(self.columns, Field::OptionValues(number));
            let is_placeholder = number == 1 && labels.iter().all(|label| label.values().all(|words| words.to_lowercase() == NO_OPTIONS));
            if listed.is_empty() && (labels.is_empty() || is_placeholder) {
                continue;
            }
            for of in rows {
                let named = of.row.text(self.columns, name_field, &self.terms.language);
                if !named.is_empty() && !name.is_empty() && !is_same(&name, &named) {
                    let reason =
                        format!("the product's first row names this option {:?}; name it so, or leave it empty", first_words(&name));
                    self.refuse(of.row, name_field, "option_name_differs", reason);
                }
            }
            if name.is_empty() {
                let reason = "the values of this option have no name; the product's first row must give it";
                self.refuse(first, name_field, "option_name_missing", reason);
                continue;
            }
            if options.iter().any(|option| option.name == name) {
                let reason = format!("the product has the option {:?} twice", first_words(&name));
                self.refuse(first, name_field, "option_twice", reason);
                continue;
            }
            let option_id = catalog::option_id(self.product_id, first_words(&name));
            let mut option = ImportedOption { number, option_id, name, values: Vec::new() };
            if !listed.is_empty() {
                match serde_json::from_str::<Vec<Text>>(listed) {
                    Ok(values) => {
                        for label in values {
                            option.add(label);
                        }
                    }
                    Err(error) => {
                        let reason = format!("these are no values as an export writes them: {error}");
                        self.refuse(first, Field::OptionValues(number), "option_values_invalid", reason);
                    }
                }
            }
            for label in labels {
                option.add(label);
            }
            options.push(option);
        }
        options
    }
}

/// Labels are the same when they agree in every language that both have, and there is one.
fn is_same(known: &Text, label: &Text) -> bool {
    let mut shared = known.iter().filter_map(|(language, words)| Some((words, label.get(language)?))).peekable();
    shared.peek().is_some() && shared.all(|(known, words)| known == words)
}

fn first_words(text: &Text) -> &str {
    text.values().next().map_or("", String::as_str)
}
