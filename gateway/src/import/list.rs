//! Several texts in one cell: separated by commas, a comma within one written `\,`.

/// `red, dark\, blue` → `red` and `dark, blue`.
pub fn split(cell: &str) -> Vec<String> {
    let mut texts = vec![String::new()];
    let mut characters = cell.chars().peekable();
    while let Some(character) = characters.next() {
        let last = texts.len() - 1;
        match character {
            '\\' => match characters.next_if(|next| matches!(next, ',' | '\\')) {
                Some(escaped) => texts[last].push(escaped),
                None => texts[last].push('\\'),
            },
            ',' => {
                characters.next_if_eq(&' ');
                texts.push(String::new());
            }
            other => texts[last].push(other),
        }
    }
    texts.retain(|text| !text.is_empty());
    texts
}

/// What [`split`] takes apart again.
pub fn join<'t>(texts: impl IntoIterator<Item = &'t str>) -> String {
    let escaped: Vec<String> = texts.into_iter().map(|text| text.replace('\\', "\\\\").replace(',', "\\,")).collect();
    escaped.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_joined_is_taken_apart_again() {
        for texts in [&["a", "b"][..], &["dark, blue", " x ", "c:\\temp"], &["\\,", "a"], &[]] {
            assert_eq!(split(&join(texts.iter().copied())), texts);
        }
    }
}
