//! The categories that a file's products are in. One that is named and not there is made, before its products.

use std::collections::HashMap;

use commands::catalog;
use domain::catalog::{CategoryFacts, Text};
use domain::claim::ClaimKey;
use domain::id::CategoryId;

/// Separates the levels of a path, and the paths of a product, in a cell that a layout has made: no file has them.
pub const LEVEL: char = '\u{1f}';
pub const PATH: char = '\u{1e}';
/// Most categories that a shop's tree may have.
const CATEGORIES_MAX: usize = 10_000;

/// What is known of the shop's categories while a file is read.
#[derive(Debug, Default)]
pub struct Categories {
    by_handle: HashMap<String, CategoryId>,
    by_title: HashMap<(Option<CategoryId>, String), CategoryId>,
    /// How many a category has below it.
    children: HashMap<Option<CategoryId>, u32>,
    /// To be made, parents first.
    wanted: Vec<CategoryFacts>,
}

impl Categories {
    pub fn new(known: &[CategoryFacts]) -> Self {
        let mut categories = Self::default();
        for facts in known {
            categories.note(facts);
        }
        categories
    }

    fn note(&mut self, facts: &CategoryFacts) {
        self.by_handle.insert(key(&facts.handle), facts.category_id);
        for title in facts.title.values() {
            self.by_title.entry((facts.parent_id, title.to_lowercase())).or_insert(facts.category_id);
        }
        *self.children.entry(facts.parent_id).or_default() += 1;
    }

    /// Those that became known and are not in the shop yet.
    pub fn take_wanted(&mut self) -> Vec<CategoryFacts> {
        std::mem::take(&mut self.wanted)
    }

    /// The categories of a product: `handles`, separated by commas, and `paths` of titles.
    pub fn of_product(&mut self, handles: &str, paths: &str, language: &str) -> Result<Vec<CategoryId>, String> {
        let mut ids = Vec::new();
        for handle in handles.split(',').map(str::trim).filter(|handle| !handle.is_empty()) {
            ids.push(self.of_handle(handle, language)?);
        }
        for path in paths.split(PATH).filter(|path| !path.is_empty()) {
            ids.extend(self.of_path(path, language)?);
        }
        let mut seen = std::collections::HashSet::new();
        ids.retain(|id| seen.insert(*id));
        Ok(ids)
    }

    fn of_handle(&mut self, handle: &str, language: &str) -> Result<CategoryId, String> {
        match self.by_handle.get(&key(handle)) {
            Some(known) => Ok(*known),
            None => self.want(handle, handle, None, language),
        }
    }

    /// The last category of a path, if it has any.
    fn of_path(&mut self, path: &str, language: &str) -> Result<Option<CategoryId>, String> {
        let mut parent_id = None;
        let mut handle = String::new();
        for title in path.split(LEVEL).map(str::trim).filter(|title| !title.is_empty()) {
            let slug = super::slug(title);
            handle = if handle.is_empty() { slug } else { format!("{handle}-{slug}") };
            let known = self.by_title.get(&(parent_id, title.to_lowercase())).copied();
            parent_id = Some(match known {
                Some(known) => known,
                None => self.want(&handle, title, parent_id, language)?,
            });
        }
        Ok(parent_id)
    }

    fn want(&mut self, handle: &str, title: &str, parent_id: Option<CategoryId>, language: &str) -> Result<CategoryId, String> {
        if self.by_handle.len() >= CATEGORIES_MAX {
            return Err(format!("the shop would have more than {CATEGORIES_MAX} categories"));
        }
        // Another branch may have led to the same handle.
        let handle = (1..).map(|n| if n == 1 { handle.to_owned() } else { format!("{handle}-{n}") });
        let handle = handle.take(CATEGORIES_MAX).find(|handle| !self.by_handle.contains_key(&key(handle))).unwrap_or_default();
        let facts = CategoryFacts {
            category_id: catalog::category_id(&handle),
            handle,
            title: Text::from([(language.to_owned(), title.to_owned())]),
            parent_id,
            position: self.children.get(&parent_id).copied().unwrap_or(0),
        };
        self.note(&facts);
        let category_id = facts.category_id;
        self.wanted.push(facts);
        Ok(category_id)
    }
}

fn key(handle: &str) -> String {
    ClaimKey::category_handle(handle).key
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_makes_what_is_missing_of_it_once_and_parents_first() {
        let mut categories = Categories::default();
        let path = format!("Kitchen{LEVEL}Coffee Machines{PATH}Kitchen");
        let ids = categories.of_product("", &path, "en").unwrap();
        assert_eq!(ids.len(), 2);
        let wanted = categories.take_wanted();
        let handles: Vec<&str> = wanted.iter().map(|facts| facts.handle.as_str()).collect();
        assert_eq!(handles, ["kitchen", "kitchen-coffee-machines"]);
        assert_eq!(wanted[1].parent_id, Some(wanted[0].category_id));
        assert_eq!(categories.of_product("kitchen", &path, "en").unwrap().len(), 2);
        assert!(categories.take_wanted().is_empty());
    }
}
