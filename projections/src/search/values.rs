//! The values of facets as numbers, so that counting a hit is an addition and names are read for the answer only.
//!
//! Each value of a facet has a number in this process, given at first sight and kept. A segment's documents never change, so
//! its values are read from the index once, when a query first counts them; a new segment has those that were counted before
//! read ahead of its first query.

use std::{
    cmp::Reverse,
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
};

use tantivy::{DocId, SegmentReader};

use super::{FACET_VALUES_MAX, FacetCount};

/// Columns that are kept in memory, of 4 bytes a document and 4 a value; beyond, a query reads them for itself.
const COLUMNS_MAX: usize = 64;

/// The numbers of all values, by the name of their column.
#[derive(Default)]
pub(super) struct Values {
    columns: RwLock<HashMap<String, Arc<Names>>>,
}

impl Values {
    /// `None` for a new column when there are too many.
    fn names(&self, column: &str) -> Option<Arc<Names>> {
        if let Some(names) = self.columns.read().unwrap_or_else(PoisonError::into_inner).get(column) {
            return Some(Arc::clone(names));
        }
        let mut columns = self.columns.write().unwrap_or_else(PoisonError::into_inner);
        if columns.len() >= COLUMNS_MAX {
            return None;
        }
        Some(Arc::clone(columns.entry(column.to_owned()).or_default()))
    }
}

/// The values of one facet, each at its number.
#[derive(Default)]
pub(super) struct Names(RwLock<Numbered>);

#[derive(Default)]
struct Numbered {
    numbers: HashMap<Arc<str>, u32>,
    names: Vec<Arc<str>>,
}

impl Names {
    fn number(&self, name: &str) -> u32 {
        let mut numbered = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(number) = numbered.numbers.get(name) {
            return *number;
        }
        let number = u32::try_from(numbered.names.len()).unwrap_or(u32::MAX);
        let name: Arc<str> = name.into();
        numbered.numbers.insert(Arc::clone(&name), number);
        numbered.names.push(name);
        number
    }

    fn len(&self) -> usize {
        self.0.read().unwrap_or_else(PoisonError::into_inner).names.len()
    }
}

/// The values of one segment's documents in one column, document by document.
struct OfSegment {
    /// Where a document's values begin; one more than there are documents.
    starts: Box<[u32]>,
    numbers: Box<[u32]>,
}

impl OfSegment {
    /// Empty for a column that no document of the segment has.
    fn read(segment: &SegmentReader, column: &str, names: &Names) -> tantivy::Result<Self> {
        let Some(values) = segment.fast_fields().str(column)? else {
            return Ok(Self { starts: Box::default(), numbers: Box::default() });
        };
        let mut by_ordinal = Vec::with_capacity(values.num_terms());
        let mut terms = values.dictionary().stream()?;
        while terms.advance() {
            by_ordinal.push(names.number(&String::from_utf8_lossy(terms.key())));
        }
        let mut starts = vec![0];
        let mut numbers = Vec::new();
        for document in 0..segment.max_doc() {
            let ordinals = values.ords().values_for_doc(document);
            numbers.extend(ordinals.filter_map(|ordinal| by_ordinal.get(usize::try_from(ordinal).ok()?).copied()));
            starts.push(u32::try_from(numbers.len()).unwrap_or(u32::MAX));
        }
        Ok(Self { starts: starts.into(), numbers: numbers.into() })
    }

    fn of(&self, document: DocId) -> &[u32] {
        let bounds = usize::try_from(document).ok().and_then(|document| self.starts.get(document..document + 2));
        let place = |start: u32| usize::try_from(start).unwrap_or(usize::MAX);
        bounds.and_then(|bounds| self.numbers.get(place(bounds[0])..place(bounds[1]))).unwrap_or_default()
    }
}

/// The columns of one segment that were read.
#[derive(Default)]
pub(super) struct SegmentValues(RwLock<HashMap<String, Arc<OfSegment>>>);

impl SegmentValues {
    /// Reads the columns that were asked for before.
    pub(super) fn read_ahead(segment: &SegmentReader, values: &Values) -> tantivy::Result<Self> {
        let columns = values.columns.read().unwrap_or_else(PoisonError::into_inner).clone();
        let mut read = HashMap::with_capacity(columns.len());
        for (column, names) in columns {
            let of_segment = OfSegment::read(segment, &column, &names)?;
            read.insert(column, Arc::new(of_segment));
        }
        Ok(Self(RwLock::new(read)))
    }

    /// Begins to count a column's values.
    pub(super) fn counts(&self, segment: &SegmentReader, column: &str, values: &Values) -> tantivy::Result<SegmentCounts> {
        let Some(names) = values.names(column) else {
            let names = Arc::<Names>::default();
            let of_segment = Arc::new(OfSegment::read(segment, column, &names)?);
            return Ok(SegmentCounts::new(of_segment, names));
        };
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner).get(column).map(Arc::clone);
        let of_segment = if let Some(known) = known {
            known
        } else {
            let read = Arc::new(OfSegment::read(segment, column, &names)?);
            let mut columns = self.0.write().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(columns.entry(column.to_owned()).or_insert(read))
        };
        Ok(SegmentCounts::new(of_segment, names))
    }
}

/// How many documents of a segment have which value.
pub(super) struct SegmentCounts {
    of_segment: Arc<OfSegment>,
    counts: Counts,
}

impl SegmentCounts {
    fn new(of_segment: Arc<OfSegment>, names: Arc<Names>) -> Self {
        let counts = vec![0; names.len()];
        Self { of_segment, counts: Counts { names, counts } }
    }

    pub(super) fn add(&mut self, document: DocId) {
        for number in self.of_segment.of(document) {
            if let Some(count) = usize::try_from(*number).ok().and_then(|number| self.counts.counts.get_mut(number)) {
                *count += 1;
            }
        }
    }

    pub(super) fn into_counts(self) -> Counts {
        self.counts
    }
}

/// How many documents have which value, by its number.
pub(super) struct Counts {
    names: Arc<Names>,
    counts: Vec<u32>,
}

impl Counts {
    /// Both are of one column; where it is not kept, their numbers differ.
    pub(super) fn merge(&mut self, other: Self) {
        if Arc::ptr_eq(&self.names, &other.names) {
            if self.counts.len() < other.counts.len() {
                self.counts.resize(other.counts.len(), 0);
            }
            for (count, other) in self.counts.iter_mut().zip(other.counts) {
                *count += other;
            }
            return;
        }
        let theirs = other.names.0.read().unwrap_or_else(PoisonError::into_inner);
        for (name, count) in theirs.names.iter().zip(other.counts) {
            let number = usize::try_from(self.names.number(name)).unwrap_or(usize::MAX);
            if self.counts.len() <= number {
                self.counts.resize(number + 1, 0);
            }
            self.counts[number] += count;
        }
    }

    /// The most frequent first; of equally frequent ones by name.
    pub(super) fn most_frequent(&self) -> Vec<FacetCount> {
        let numbered = self.names.0.read().unwrap_or_else(PoisonError::into_inner);
        let counted = numbered.names.iter().zip(&self.counts).filter(|(_, count)| **count > 0);
        let mut counted: Vec<(Reverse<u32>, &str)> = counted.map(|(name, count)| (Reverse(*count), &**name)).collect();
        if counted.len() > FACET_VALUES_MAX {
            counted.select_nth_unstable(FACET_VALUES_MAX);
            counted.truncate(FACET_VALUES_MAX);
        }
        counted.sort_unstable();
        let counted = counted.into_iter();
        counted
            .map(|(Reverse(count), value)| FacetCount { value: value.to_owned(), count: usize::try_from(count).unwrap_or(usize::MAX) })
            .collect()
    }
}
