//! One category of the tree.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::Text;
use super::rule::handle_fits_a_url;
use crate::claim::{ClaimChanges, ClaimKey};
use crate::event::Root;
use crate::id::CategoryId;

/// A whole category; every event of one carries it, since it is small.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CategoryFacts {
    pub category_id: CategoryId,
    pub handle: String,
    pub title: Text,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent_id: Option<CategoryId>,
    /// Among its siblings.
    pub position: u32,
}

events! {
    pub enum CategoryEvent {
        CategoryCreated(CategoryFacts) = "CategoryCreated", 1;
        CategoryChanged(CategoryFacts) = "CategoryChanged", 1;
        CategoryMoved(CategoryFacts) = "CategoryMoved", 1;
        CategoryArchived(CategoryFacts) = "CategoryArchived", 1;
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CategoryCommand {
    /// Creating an equal category again is a no-op.
    Create(CategoryFacts),
    Change {
        handle: String,
        title: Text,
    },
    /// That the new parent is no descendant is for the caller to see: it spans categories.
    Move {
        parent_id: Option<CategoryId>,
        position: u32,
    },
    Archive,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CategoryRejection {
    #[error("there is no such category")]
    NotFound,
    #[error("the category exists already")]
    Exists,
    #[error("the category is archived")]
    Archived,
    #[error("a category needs a title in at least one language")]
    TitleMissing,
    #[error("{handle:?} can't be a part of a URL")]
    HandleInvalid { handle: String },
    #[error("a category can't be its own parent")]
    OwnParent,
}

impl CategoryRejection {
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NotFound => "category_not_found",
            Self::Exists => "category_exists",
            Self::Archived => "category_archived",
            Self::TitleMissing => "title_missing",
            Self::HandleInvalid { .. } => "handle_invalid",
            Self::OwnParent => "category_own_parent",
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Category {
    #[default]
    Absent,
    Live(CategoryFacts),
    Archived(CategoryFacts),
}

impl Category {
    pub fn decide(&self, command: CategoryCommand) -> Result<Vec<CategoryEvent>, CategoryRejection> {
        if let CategoryCommand::Create(wanted) = command {
            return self.create(wanted);
        }
        let facts = match self {
            Self::Absent => return Err(CategoryRejection::NotFound),
            Self::Archived(_) if command == CategoryCommand::Archive => return Ok(vec![]),
            Self::Archived(_) => return Err(CategoryRejection::Archived),
            Self::Live(facts) => facts,
        };
        let (wanted, event): (_, fn(CategoryFacts) -> CategoryEvent) = match command {
            // Answered above.
            CategoryCommand::Create(_) => return Ok(vec![]),
            CategoryCommand::Change { handle, title } => (CategoryFacts { handle, title, ..facts.clone() }, CategoryEvent::CategoryChanged),
            CategoryCommand::Move { parent_id, position } => {
                (CategoryFacts { parent_id, position, ..facts.clone() }, CategoryEvent::CategoryMoved)
            }
            CategoryCommand::Archive => {
                return Ok(vec![CategoryEvent::CategoryArchived(facts.clone())]);
            }
        };
        check(&wanted)?;
        Ok(if wanted == *facts { vec![] } else { vec![event(wanted)] })
    }

    pub fn apply(&mut self, event: &CategoryEvent) {
        *self = match event {
            CategoryEvent::CategoryCreated(facts) | CategoryEvent::CategoryChanged(facts) | CategoryEvent::CategoryMoved(facts) => {
                Self::Live(facts.clone())
            }
            CategoryEvent::CategoryArchived(facts) => Self::Archived(facts.clone()),
        };
    }

    fn create(&self, wanted: CategoryFacts) -> Result<Vec<CategoryEvent>, CategoryRejection> {
        match self {
            Self::Absent => {
                check(&wanted)?;
                Ok(vec![CategoryEvent::CategoryCreated(wanted)])
            }
            Self::Live(facts) if *facts == wanted => Ok(vec![]),
            Self::Live(_) => Err(CategoryRejection::Exists),
            Self::Archived(_) => Err(CategoryRejection::Archived),
        }
    }
}

/// What has to be claimed and released along with these events, given the category before them.
#[must_use]
pub fn category_claims(events: &[CategoryEvent], before: &Category) -> ClaimChanges {
    let mut after = before.clone();
    for event in events {
        after.apply(event);
    }
    ClaimChanges::between(&held(before), &held(&after))
}

fn held(category: &Category) -> BTreeSet<ClaimKey> {
    match category {
        Category::Live(facts) => BTreeSet::from([ClaimKey::category_handle(&facts.handle)]),
        Category::Absent | Category::Archived(_) => BTreeSet::new(),
    }
}

aggregate!(Category = "category", CategoryCommand => CategoryEvent, CategoryRejection);

impl Root for Category {
    const CONTEXT: &'static str = "catalog";
}

fn check(facts: &CategoryFacts) -> Result<(), CategoryRejection> {
    if facts.title.values().all(|text| text.trim().is_empty()) {
        return Err(CategoryRejection::TitleMissing);
    }
    if !handle_fits_a_url(&facts.handle) {
        return Err(CategoryRejection::HandleInvalid { handle: facts.handle.clone() });
    }
    if facts.parent_id == Some(facts.category_id) {
        return Err(CategoryRejection::OwnParent);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use cqrs_es::test::TestFramework;

    use super::*;

    fn shoes() -> CategoryFacts {
        CategoryFacts {
            category_id: CategoryId::new(uuid::Uuid::from_u128(1)),
            handle: "shoes".to_owned(),
            title: Text::from([("en".to_owned(), "Shoes".to_owned())]),
            parent_id: None,
            position: 0,
        }
    }

    #[test]
    fn creating_an_equal_category_again_appends_nothing() {
        TestFramework::<Category>::with(())
            .given(vec![CategoryEvent::CategoryCreated(shoes())])
            .when(CategoryCommand::Create(shoes()))
            .then_expect_events(vec![]);
    }

    #[test]
    fn a_category_is_not_its_own_parent() {
        let parent_id = Some(shoes().category_id);
        TestFramework::<Category>::with(())
            .given(vec![CategoryEvent::CategoryCreated(shoes())])
            .when(CategoryCommand::Move { parent_id, position: 1 })
            .then_expect_error(CategoryRejection::OwnParent);
    }

    #[test]
    fn an_archived_category_gives_its_handle_back() {
        let live = Category::Live(shoes());
        let events = live.decide(CategoryCommand::Archive).unwrap();
        let changes = category_claims(&events, &live);
        assert_eq!(changes.release, vec![ClaimKey::category_handle("shoes")]);
        assert!(changes.take.is_empty());
    }
}
