//! Weights as files write them.

/// How many grams a unit is.
pub fn grams_of(unit: &str) -> Option<f64> {
    match unit.trim().to_lowercase().as_str() {
        "g" | "gram" | "grams" => Some(1.0),
        "kg" | "kilogram" | "kilograms" => Some(1_000.0),
        "lb" | "lbs" | "pound" | "pounds" => Some(453.592_37),
        "oz" | "ounce" | "ounces" => Some(28.349_523_125),
        _ => None,
    }
}

/// A weight in a unit of so many grams, in grams; what is no number stays, for its row's error.
pub fn in_grams(text: &str, grams: f64) -> String {
    match text.parse::<f64>() {
        Ok(number) => format!("{:.0}", number * grams),
        Err(_) => text.to_owned(),
    }
}
