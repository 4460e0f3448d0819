//! Categories and locations out of JSON files: lists of objects, ours and those of other systems.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use commands::answer::{CommandError, Origin, Position, Refusal};
use commands::catalog::{self, PutOutcome};
use commands::setting::{self, LocationOutcome, PutLocations};
use domain::catalog::{CategoryFacts, Text};
use domain::claim::ClaimKey;
use domain::id::CategoryId;
use domain::setting::{LocationAddress, NewLocation};
use futures::stream::{self, StreamExt};
use infra::event_log;
use serde::{Deserialize, Serialize};

use super::ERRORS_TOLD_MAX;
use crate::app::App;
use crate::http::problem::Problem;

/// The largest file.
pub const FILE_BYTES_MAX: usize = 16 << 20;
/// Most categories that a shop may have: an answer shows the whole tree.
pub const CATEGORIES_MAX: usize = 10_000;
/// Commands that are with the writer at a time.
const COMMANDS_IN_FLIGHT_MAX: usize = 256;
/// Locations that one command adds or changes.
const LOCATIONS_PER_COMMAND: usize = 200;

/// What an import of a list came to.
#[derive(Debug, Clone, Default, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ListOutcome {
    /// Objects of the file.
    pub items: u64,
    pub created: u64,
    pub changed: u64,
    pub unchanged: u64,
    pub refused: u64,
    pub errors: Vec<ItemError>,
    /// Errors beyond those that were told.
    pub errors_omitted: u64,
    /// The consistency token of everything that was done.
    pub position: String,
}

/// Why an object was not taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ItemError {
    /// In the file, from 1.
    pub item: u64,
    /// What the file calls it.
    pub id: String,
    #[schema(example = "parent_unknown")]
    pub code: String,
    pub reason: String,
}

impl ListOutcome {
    fn count(&mut self, outcome: PutOutcome) {
        match outcome {
            PutOutcome::Created => self.created += 1,
            PutOutcome::Changed => self.changed += 1,
            PutOutcome::Unchanged => self.unchanged += 1,
        }
    }

    fn refuse(&mut self, item: u64, id: &str, code: &str, reason: impl Into<String>) {
        self.refused += 1;
        if (self.errors.len() as u64) < ERRORS_TOLD_MAX {
            self.errors.push(ItemError { item, id: id.to_owned(), code: code.to_owned(), reason: reason.into() });
        } else {
            self.errors_omitted += 1;
        }
    }

    fn refuse_by(&mut self, item: u64, id: &str, refusal: &Refusal) {
        match refusal.errors.first() {
            Some(error) => self.refuse(item, id, &error.code, error.detail.clone()),
            None => self.refuse(item, id, &refusal.code, refusal.detail.clone()),
        }
    }
}

/// Words in one language or in several.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
enum Words {
    One(String),
    Many(Text),
}

impl Words {
    fn text(self, language: &str) -> Text {
        match self {
            Self::One(words) => Text::from([(language.to_owned(), words)]),
            Self::Many(text) => text,
        }
    }
}

#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
enum Name {
    Text(String),
    Number(i64),
}

impl Name {
    fn text(&self) -> String {
        match self {
            Self::Text(text) => text.trim().to_owned(),
            Self::Number(number) => number.to_string(),
        }
    }
}

/// A category as a file has it: ours with `handle`, `title`, `parent` and `position`; others' with `id`, `name` and the
/// `path` from the root to it.
#[derive(Debug, Clone, Deserialize)]
pub struct CategoryItem {
    #[serde(alias = "id")]
    handle: Option<Name>,
    #[serde(alias = "name")]
    title: Option<Words>,
    parent: Option<Name>,
    position: Option<u32>,
    #[serde(default)]
    path: Vec<CategoryItem>,
    #[serde(default, rename = "subCategories", alias = "children")]
    children: Vec<CategoryItem>,
}

/// A location as a file has it.
#[derive(Debug, Clone, Deserialize)]
pub struct LocationItem {
    #[serde(alias = "id")]
    code: Option<Name>,
    #[serde(alias = "name")]
    title: Option<String>,
    address: Option<AddressItem>,
    address2: Option<String>,
    city: Option<String>,
    #[serde(alias = "state")]
    region: Option<String>,
    #[serde(alias = "zip")]
    postal_code: Option<String>,
    country: Option<String>,
    priority: Option<u32>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
enum AddressItem {
    Line(String),
    Whole(LocationAddress),
}

/// How a list is to be read.
#[derive(Debug, Clone)]
pub struct ListRequest {
    /// Of its words.
    pub language: String,
    /// ISO 3166-1 alpha-2; of locations that don't say it.
    pub country: Option<String>,
    /// Only say what would be done.
    pub dry_run: bool,
}

/// A category that is to be there.
#[derive(Debug)]
struct Node {
    /// In the file; 0 when only a path names it.
    item: u64,
    handle: String,
    title: Text,
    parent: Option<String>,
    position: Option<u32>,
}

/// Puts a tree of categories: parents before their children, siblings in the order of the file unless it says another.
pub async fn put_categories(app: &App, origin: &Origin, items: Vec<CategoryItem>, request: &ListRequest) -> Result<ListOutcome, Problem> {
    app.reach_head("product").await?;
    let known: HashMap<String, CategoryFacts> =
        projections::product::categories(&app.pool).await?.into_iter().map(|facts| (key(&facts.handle), facts)).collect();
    let mut outcome = ListOutcome { items: items.len() as u64, ..ListOutcome::default() };
    let mut nodes = nodes(items, request, &mut outcome);
    let new = nodes.keys().filter(|handle| !known.contains_key(*handle)).count();
    if known.len() + new > CATEGORIES_MAX {
        let detail = format!("the shop would have {} categories; it may have {CATEGORIES_MAX}", known.len() + new);
        return Err(Problem::new("validation_failed", detail));
    }
    let ids: HashMap<String, CategoryId> = known.iter().map(|(handle, facts)| (handle.clone(), facts.category_id)).collect();
    let mut there: HashSet<String> = known.keys().filter(|handle| !nodes.contains_key(*handle)).cloned().collect();
    let mut siblings: HashMap<Option<String>, u32> = HashMap::new();
    let head = event_log::head(&app.pool).await?;
    let mut position = Position { epoch: head.epoch, position: head.position };
    loop {
        let ready: Vec<String> = {
            let is_ready = |node: &Node| node.parent.as_deref().is_none_or(|parent| there.contains(&key(parent)));
            let mut ready: Vec<&Node> = nodes.values().filter(|node| is_ready(node)).collect();
            ready.sort_by_key(|node| (node.item == 0, node.item));
            ready.into_iter().map(|node| key(&node.handle)).collect()
        };
        if ready.is_empty() {
            break;
        }
        let mut level = Vec::with_capacity(ready.len());
        for handle in ready {
            let Some(node) = nodes.remove(&handle) else { continue };
            let place = siblings.entry(node.parent.as_deref().map(key)).or_default();
            let known = known.get(&handle);
            let id_of = |handle: &str| ids.get(&key(handle)).copied().unwrap_or_else(|| catalog::category_id(handle));
            let mut title = node.title;
            for (language, words) in known.iter().flat_map(|known| &known.title) {
                title.entry(language.clone()).or_insert_with(|| words.clone());
            }
            let wanted = CategoryFacts {
                category_id: id_of(&node.handle),
                handle: node.handle.clone(),
                title,
                parent_id: node.parent.as_deref().map(id_of),
                position: node.position.unwrap_or(*place),
            };
            *place += 1;
            there.insert(handle);
            level.push((node.item, node.handle, wanted, known.cloned()));
        }
        let putting = level.into_iter().map(|(item, handle, wanted, known)| async move {
            if request.dry_run {
                let outcome = match known {
                    None => PutOutcome::Created,
                    Some(known) if known == wanted => PutOutcome::Unchanged,
                    Some(_) => PutOutcome::Changed,
                };
                return (item, handle, Ok((outcome, None)));
            }
            let done = app.writer.execute(origin, None, move |streams| catalog::put_category(streams, &wanted)).await;
            (item, handle, done.map(|done| (done.output.outcome, Some(done.position))))
        });
        let mut putting = stream::iter(putting).buffer_unordered(COMMANDS_IN_FLIGHT_MAX);
        while let Some((item, handle, done)) = putting.next().await {
            match done {
                Ok((put, at)) => {
                    outcome.count(put);
                    position.position = at.map_or(position.position, |at| at.position.max(position.position));
                }
                Err(CommandError::Refused(refusal, _)) => outcome.refuse_by(item, &handle, &refusal),
                Err(error) => return Err(error.into()),
            }
        }
    }
    for node in nodes.values() {
        let parent = node.parent.as_deref().unwrap_or_default();
        let reason = format!("the category {parent:?} above it is not in the file, not in the shop, or lies below it");
        outcome.refuse(node.item, &node.handle, "parent_unknown", reason);
    }
    outcome.errors.sort_by_key(|error| error.item);
    outcome.position = position.to_string();
    Ok(outcome)
}

/// The categories of a file, by their handles; those that only a path names among them.
fn nodes(items: Vec<CategoryItem>, request: &ListRequest, outcome: &mut ListOutcome) -> BTreeMap<String, Node> {
    let mut nodes: BTreeMap<String, Node> = BTreeMap::new();
    let mut named_above: Vec<Node> = Vec::new();
    let mut places: HashMap<String, u32> = HashMap::new();
    for (number, item) in (1..).zip(items) {
        let Some(handle) = item.handle.as_ref().map(Name::text).filter(|handle| !handle.is_empty()) else {
            outcome.refuse(number, "", "handle_missing", "a category needs its `handle` or `id`");
            continue;
        };
        for (place, child) in (0..).zip(&item.children) {
            if let Some(child) = &child.handle {
                places.insert(key(&child.text()), place);
            }
        }
        let above: Vec<(String, Option<Words>)> = item
            .path
            .iter()
            .filter_map(|step| Some((step.handle.as_ref()?.text(), step.title.clone())))
            .filter(|(step, _)| key(step) != key(&handle))
            .collect();
        let mut parent: Option<String> = None;
        for (step, words) in &above {
            let title = words.clone().unwrap_or_else(|| Words::One(step.clone())).text(&request.language);
            named_above.push(Node { item: 0, handle: step.clone(), title, parent: parent.clone(), position: None });
            parent = Some(step.clone());
        }
        let parent = item.parent.as_ref().map(Name::text).or(parent);
        let title = item.title.unwrap_or_else(|| Words::One(handle.clone())).text(&request.language);
        let node = Node { item: number, handle: handle.clone(), title, parent, position: item.position };
        if nodes.insert(key(&handle), node).is_some() {
            outcome.refuse(number, &handle, "handle_duplicate", "the file has this category twice; the last one counts");
        }
    }
    for node in named_above {
        nodes.entry(key(&node.handle)).or_insert(node);
    }
    for (handle, node) in &mut nodes {
        node.position = node.position.or_else(|| places.get(handle).copied());
    }
    nodes
}

/// Adds locations, or changes those that are there already.
pub async fn put_locations(app: &App, origin: &Origin, items: Vec<LocationItem>, request: &ListRequest) -> Result<ListOutcome, Problem> {
    let mut outcome = ListOutcome { items: items.len() as u64, ..ListOutcome::default() };
    let mut wanted: Vec<(u64, NewLocation)> = Vec::with_capacity(items.len());
    for (number, item) in (1..).zip(items) {
        match location(item, request) {
            Some(location) => wanted.push((number, location)),
            None => outcome.refuse(number, "", "code_missing", "a location needs its `code` or `id`"),
        }
    }
    let head = event_log::head(&app.pool).await?;
    let mut position = Position { epoch: head.epoch, position: head.position };
    if request.dry_run {
        let (settings, _) = app.settings_as_of(head.position).await?;
        let (_, outcomes) = setting::put_onto(&settings, wanted.iter().map(|(_, location)| location));
        note(&mut outcome, &wanted, outcomes);
    } else {
        for some in wanted.chunks(LOCATIONS_PER_COMMAND) {
            let locations = some.iter().map(|(_, location)| location.clone()).collect();
            let put = PutLocations { locations, configured: Arc::clone(&app.settings.terms) };
            let done = app.writer.execute(origin, None, move |streams| setting::put_locations(streams, &put)).await?;
            position.position = position.position.max(done.position.position);
            note(&mut outcome, some, done.output);
        }
    }
    outcome.errors.sort_by_key(|error| error.item);
    outcome.position = position.to_string();
    Ok(outcome)
}

fn note(outcome: &mut ListOutcome, wanted: &[(u64, NewLocation)], outcomes: Vec<LocationOutcome>) {
    for ((item, location), put) in wanted.iter().zip(outcomes) {
        match put {
            Ok(put) => outcome.count(put),
            Err(refusal) => outcome.refuse_by(*item, &location.code, &refusal),
        }
    }
}

fn location(item: LocationItem, request: &ListRequest) -> Option<NewLocation> {
    let some = |text: Option<String>| text.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
    let code = item.code.map(|code| code.text()).filter(|code| !code.is_empty())?;
    let country = some(item.country).or_else(|| request.country.clone());
    let (whole, line) = match item.address {
        Some(AddressItem::Whole(address)) => (Some(address), None),
        Some(AddressItem::Line(line)) => (None, Some(line)),
        None => (None, None),
    };
    let address = match whole {
        Some(address) => address,
        None => LocationAddress {
            line1: some(line),
            line2: some(item.address2),
            postal_code: some(item.postal_code),
            city: some(item.city),
            region: some(item.region),
            country,
        },
    };
    let title = some(item.title).unwrap_or_else(|| code.clone());
    Some(NewLocation { location_id: infra::clock::new_id().into(), code, title, address, priority: item.priority })
}

fn key(handle: &str) -> String {
    ClaimKey::category_handle(handle).key
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> ListRequest {
        ListRequest { language: "en".to_owned(), country: Some("US".to_owned()), dry_run: false }
    }

    #[test]
    fn a_path_says_the_parent_and_what_is_missing_above() {
        let items: Vec<CategoryItem> = serde_json::from_str(
            r#"[{"id":"c","name":"Cups","path":[{"id":"a","name":"All"},{"id":"b","name":"Table"},{"id":"c","name":"Cups"}]},
                {"id":"b","name":"Table","path":[{"id":"a","name":"All"},{"id":"b","name":"Table"}],"subCategories":[{"id":"x"},{"id":"c"}]},
                {"handle":"mugs","title":{"en":"Mugs","de":"Becher"},"parent":"c","position":7}, {"name":"?"}]"#,
        )
        .unwrap();
        let mut outcome = ListOutcome::default();
        let nodes = nodes(items, &request(), &mut outcome);
        let told: Vec<_> = nodes.values().map(|node| (node.handle.as_str(), node.parent.as_deref(), node.position)).collect();
        assert_eq!(told, [("a", None, None), ("b", Some("a"), None), ("c", Some("b"), Some(1)), ("mugs", Some("c"), Some(7))]);
        assert_eq!((outcome.refused, outcome.errors[0].item), (1, 4));
    }

    #[test]
    fn a_location_is_read_as_others_write_it_and_as_we_do() {
        let items: Vec<LocationItem> = serde_json::from_str(
            r#"[{"id":1000,"name":"Mall","address":"340 W Market","address2":"","city":"Bloomington","state":"MN","zip":"55425","type":"BigBox"},
                {"code":"berlin","title":"Berlin","address":{"city":"Berlin","country":"DE"},"priority":3}]"#,
        )
        .unwrap();
        let mut read = items.into_iter().filter_map(|item| location(item, &request()));
        let mall = read.next().unwrap();
        assert_eq!(
            (mall.code.as_str(), mall.address.line1.as_deref(), mall.address.line2.as_deref()),
            ("1000", Some("340 W Market"), None)
        );
        assert_eq!((mall.address.region.as_deref(), mall.address.country.as_deref()), (Some("MN"), Some("US")));
        let berlin = read.next().unwrap();
        assert_eq!((berlin.address.country.as_deref(), berlin.priority), (Some("DE"), Some(3)));
    }
}
