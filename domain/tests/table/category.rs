//! Categories, from nothing to the archive.

use domain::catalog::{Category, CategoryCommand, CategoryEvent, CategoryFacts, CategoryRejection, Text};

use crate::{Table, id};

variants!(CategoryCommand: Create, Change, Move, Archive);
variants!(CategoryRejection: NotFound, Exists, Archived, TitleMissing, HandleInvalid, OwnParent);

const TABLE: &str = "
Create
    CategoryCreated                                            | absent
    -                                                          | live
    category_archived                                          | archived

Create with another handle
    CategoryCreated                                            | absent
    category_exists                                            | live
    category_archived                                          | archived

Create without a title
    title_missing                                              | absent
    category_exists                                            | live
    category_archived                                          | archived

Change to what it is
    category_not_found                                         | absent
    -                                                          | live
    category_archived                                          | archived

Change of the handle
    category_not_found                                         | absent
    CategoryChanged                                            | live
    category_archived                                          | archived

Change of the title
    category_not_found                                         | absent
    CategoryChanged                                            | live
    category_archived                                          | archived

Change to no title
    category_not_found                                         | absent
    title_missing                                              | live
    category_archived                                          | archived

Change to a handle that is a path
    category_not_found                                         | absent
    handle_invalid                                             | live
    category_archived                                          | archived

Move to where it is
    category_not_found                                         | absent
    -                                                          | live
    category_archived                                          | archived

Move to another parent
    category_not_found                                         | absent
    CategoryMoved                                              | live
    category_archived                                          | archived

Move to another position
    category_not_found                                         | absent
    CategoryMoved                                              | live
    category_archived                                          | archived

Move under itself
    category_not_found                                         | absent
    category_own_parent                                        | live
    category_archived                                          | archived

Archive
    category_not_found                                         | absent
    CategoryArchived                                           | live
    -                                                          | archived
";

fn shoes() -> CategoryFacts {
    CategoryFacts { category_id: id(1), handle: "shoes".to_owned(), title: title("Shoes"), parent_id: Some(id(2)), position: 3 }
}

fn title(english: &str) -> Text {
    Text::from([("en".to_owned(), english.to_owned())])
}

fn states() -> Vec<(&'static str, Category)> {
    let after = |events: &[CategoryEvent]| {
        let mut category = Category::default();
        for event in events {
            category.apply(event);
        }
        category
    };
    let created = CategoryEvent::CategoryCreated(shoes());
    vec![
        ("absent", after(&[])),
        ("live", after(std::slice::from_ref(&created))),
        ("archived", after(&[created, CategoryEvent::CategoryArchived(shoes())])),
    ]
}

fn commands() -> Vec<(&'static str, CategoryCommand)> {
    use CategoryCommand::{Archive, Change, Create, Move};
    let change = |handle: &str, english: &str| Change { handle: handle.to_owned(), title: title(english) };
    vec![
        ("Create", Create(shoes())),
        ("Create with another handle", Create(CategoryFacts { handle: "boots".to_owned(), ..shoes() })),
        ("Create without a title", Create(CategoryFacts { title: title(" "), ..shoes() })),
        ("Change to what it is", change("shoes", "Shoes")),
        ("Change of the handle", change("boots", "Shoes")),
        ("Change of the title", change("shoes", "Boots")),
        ("Change to no title", change("shoes", "")),
        ("Change to a handle that is a path", change("shoes/red", "Shoes")),
        ("Move to where it is", Move { parent_id: Some(id(2)), position: 3 }),
        ("Move to another parent", Move { parent_id: Some(id(7)), position: 3 }),
        ("Move to another position", Move { parent_id: Some(id(2)), position: 0 }),
        ("Move under itself", Move { parent_id: Some(id(1)), position: 3 }),
        ("Archive", Archive),
    ]
}

#[test]
fn a_change_says_the_whole_category_as_it_is_after_it() {
    let live = Category::Live(shoes());
    let change = CategoryCommand::Change { handle: "boots".to_owned(), title: title("Boots") };
    let changed = CategoryFacts { handle: "boots".to_owned(), title: title("Boots"), ..shoes() };
    assert_eq!(live.decide(change), Ok(vec![CategoryEvent::CategoryChanged(changed)]));
    let moved = CategoryFacts { parent_id: None, position: 7, ..shoes() };
    let to_the_top = CategoryCommand::Move { parent_id: None, position: 7 };
    assert_eq!(live.decide(to_the_top), Ok(vec![CategoryEvent::CategoryMoved(moved)]));
}

#[test]
fn a_category_in_every_state() {
    Table {
        text: TABLE,
        states: states(),
        commands: commands(),
        decide: Category::decide,
        code: CategoryRejection::code,
        events_elsewhere: &[],
        refusals_elsewhere: &[],
    }
    .check();
}
