//! The fields of the index, and how a product fills them. Nothing is stored: answers are product ids,
//! and the read model renders them.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use tantivy::{
    Index, SegmentReader, TantivyDocument, Term,
    columnar::Column,
    schema::{FAST, Field, INDEXED, IndexRecordOption, JsonObjectOptions, OwnedValue, Schema, TextFieldIndexing, TextOptions},
    tokenizer::RAW_TOKENIZER_NAME,
};
use uuid::Uuid;

use super::{
    ProductDocument, SearchError,
    analysis::{self, ENDINGS, INITIALS, PLAIN, PREFIXES, STEMS, SYLLABLES},
};

pub(super) const ID_HIGH: &str = "id_high";
pub(super) const ID_LOW: &str = "id_low";
pub(super) const CREATED_AT_US: &str = "created_at_us";
pub(super) const BRAND: &str = "brand";
pub(super) const CATEGORY: &str = "category";
const ATTRIBUTES: &str = "attributes";

/// Raise it when the same document is to give other terms and [`SAMPLE`] does not show it.
const FORMAT_VERSION: u32 = 1;
/// What the analysis makes of this is part of the format.
const SAMPLE: &str =
    "Die Häuser & 2 running Dogs-in-boots: ＵＳＢ-C, naïve café, 蓝牙耳机 X9, 東京都のカメラ, 무선 이어폰, หูฟังไร้สาย, Core™, 音乐会, Wi-Fi";

#[derive(Clone, Copy)]
pub(super) struct Fields {
    /// To find a document by its product.
    pub(super) product_id: Field,
    /// The product's id again, for reading: the two halves of a UUID as numbers.
    id_high: Field,
    id_low: Field,
    created_at_us: Field,
    /// SKUs and the handle, lower-cased, matched as a whole.
    pub(super) code: Field,
    pub(super) title: Field,
    pub(super) title_stems: Field,
    /// Of German titles; an index of an earlier version has none.
    pub(super) endings: Option<Field>,
    pub(super) prefixes: Field,
    /// Of Chinese titles.
    pub(super) syllables: Field,
    pub(super) initials: Field,
    pub(super) brand_words: Field,
    /// Kind, tags and attribute values.
    pub(super) keywords: Field,
    pub(super) description: Field,
    /// Exactly as given: for filters and facets.
    brand: Field,
    category: Field,
    attributes: Field,
}

pub(super) fn build() -> (Schema, Fields) {
    let mut schema = Schema::builder();
    let text = |tokenizer: &str, records: IndexRecordOption, fieldnorms: bool| {
        TextFieldIndexing::default().set_tokenizer(tokenizer).set_index_option(records).set_fieldnorms(fieldnorms)
    };
    let words = |tokenizer: &str| TextOptions::default().set_indexing_options(text(tokenizer, IndexRecordOption::WithFreqs, true));
    let placed =
        |tokenizer: &str| TextOptions::default().set_indexing_options(text(tokenizer, IndexRecordOption::WithFreqsAndPositions, true));
    let unweighted = |tokenizer: &str| TextOptions::default().set_indexing_options(text(tokenizer, IndexRecordOption::Basic, false));
    let value = || unweighted(RAW_TOKENIZER_NAME).set_fast(RAW_TOKENIZER_NAME);
    let attributes = JsonObjectOptions::default()
        .set_indexing_options(text(RAW_TOKENIZER_NAME, IndexRecordOption::Basic, false))
        .set_fast(RAW_TOKENIZER_NAME);

    let fields = Fields {
        product_id: schema.add_bytes_field("product_id", INDEXED),
        id_high: schema.add_u64_field(ID_HIGH, FAST),
        id_low: schema.add_u64_field(ID_LOW, FAST),
        created_at_us: schema.add_i64_field(CREATED_AT_US, FAST),
        code: schema.add_text_field("code", unweighted(RAW_TOKENIZER_NAME)),
        title: schema.add_text_field("title", placed(PLAIN)),
        title_stems: schema.add_text_field("title_stems", words(STEMS)),
        endings: Some(schema.add_text_field("endings", unweighted(ENDINGS))),
        prefixes: schema.add_text_field("prefixes", unweighted(PREFIXES)),
        syllables: schema.add_text_field("syllables", placed(SYLLABLES)),
        initials: schema.add_text_field("initials", unweighted(INITIALS)),
        brand_words: schema.add_text_field("brand_words", words(PLAIN)),
        keywords: schema.add_text_field("keywords", words(STEMS)),
        description: schema.add_text_field("description", words(STEMS)),
        brand: schema.add_text_field(BRAND, value()),
        category: schema.add_text_field(CATEGORY, value()),
        attributes: schema.add_json_field(ATTRIBUTES, attributes),
    };
    (schema.build(), fields)
}

impl Fields {
    pub(super) fn document(&self, product: &ProductDocument) -> TantivyDocument {
        let mut document = TantivyDocument::default();
        let (high, low) = product.product_id.as_u64_pair();
        document.add_bytes(self.product_id, product.product_id.as_bytes());
        document.add_u64(self.id_high, high);
        document.add_u64(self.id_low, low);
        document.add_i64(self.created_at_us, product.created_at_us);
        for code in product.skus.iter().chain([&product.handle]) {
            document.add_text(self.code, code_of(code));
        }
        self.add_texts(&mut document, product);
        // A value given twice would be counted twice.
        for category in product.categories.iter().collect::<BTreeSet<_>>() {
            document.add_text(self.category, category);
        }
        if let Some(brand) = &product.brand {
            document.add_text(self.brand, brand);
        }
        document.add_object(self.attributes, attribute_values(product));
        document
    }

    fn add_texts(&self, document: &mut TantivyDocument, product: &ProductDocument) {
        for (lang, title) in &product.title {
            document.add_text(self.title, title);
            document.add_text(self.title_stems, analysis::tagged(lang, title));
            if let Some(endings) = self.endings {
                document.add_text(endings, analysis::tagged(lang, title));
            }
            document.add_text(self.prefixes, title);
            document.add_text(self.syllables, title);
            document.add_text(self.initials, title);
        }
        for (lang, description) in &product.description {
            document.add_text(self.description, analysis::tagged(lang, description));
        }
        if let Some(brand) = &product.brand {
            document.add_text(self.brand_words, brand);
            document.add_text(self.prefixes, brand);
        }
        // Their language is not known: they are stemmed in each one that the product has a title in.
        let values = product.attributes.iter().map(|(_, value)| value);
        for keyword in product.kind.iter().chain(&product.tags).chain(values) {
            for lang in product.title.keys() {
                document.add_text(self.keywords, analysis::tagged(lang, keyword));
            }
        }
    }

    /// The fields of an index that another version has made; `None` where one of them is missing.
    pub(super) fn of(schema: &Schema) -> Option<Self> {
        let field = |name| schema.get_field(name).ok();
        Some(Self {
            product_id: field("product_id")?,
            id_high: field(ID_HIGH)?,
            id_low: field(ID_LOW)?,
            created_at_us: field(CREATED_AT_US)?,
            code: field("code")?,
            title: field("title")?,
            title_stems: field("title_stems")?,
            endings: field("endings"),
            prefixes: field("prefixes")?,
            syllables: field("syllables")?,
            initials: field("initials")?,
            brand_words: field("brand_words")?,
            keywords: field("keywords")?,
            description: field("description")?,
            brand: field(BRAND)?,
            category: field(CATEGORY)?,
            attributes: field(ATTRIBUTES)?,
        })
    }

    pub(super) fn product_term(&self, product_id: Uuid) -> Term {
        Term::from_field_bytes(self.product_id, product_id.as_bytes())
    }

    pub(super) fn brand_term(&self, brand: &str) -> Term {
        Term::from_field_text(self.brand, brand)
    }

    pub(super) fn category_term(&self, category: &str) -> Term {
        Term::from_field_text(self.category, category)
    }

    pub(super) fn attribute_term(&self, key: &str, value: &str) -> Term {
        let mut term = Term::from_field_json_path(self.attributes, &path_of(key), false);
        term.append_type_and_str(value);
        term
    }
}

/// The name of the column that holds the values of an attribute.
pub(super) fn attribute_column(key: &str) -> String {
    format!("{ATTRIBUTES}.{}", path_of(key))
}

/// How an article number is compared.
pub(super) fn code_of(code: &str) -> String {
    code.trim().to_lowercase()
}

/// The product of each document.
pub(super) fn product_ids(segment: &SegmentReader) -> tantivy::Result<Arc<[Uuid]>> {
    let columns = segment.fast_fields();
    let (high, low) = (columns.u64(ID_HIGH)?, columns.u64(ID_LOW)?);
    let half = |column: &Column<u64>, document| column.first(document).unwrap_or_default();
    Ok((0..segment.max_doc()).map(|document| Uuid::from_u64_pair(half(&high, document), half(&low, document))).collect())
}

/// Changes with the schema, with [`FORMAT_VERSION`], and with what the analysis (a newer stemmer, say)
/// makes of [`SAMPLE`].
pub(super) fn fingerprint(schema: &Schema) -> Result<String, SearchError> {
    let index = Index::create_in_ram(schema.clone());
    analysis::register(index.tokenizers());
    let schema = serde_json::to_string(schema).map_err(std::io::Error::from)?;
    let mut seen = format!("{FORMAT_VERSION} {schema}");
    for name in [PLAIN, STEMS, PREFIXES, SYLLABLES, INITIALS, ENDINGS] {
        let Some(mut analyser) = index.tokenizers().get(name) else {
            continue;
        };
        for lang in ["en", "de", "zh"] {
            let sample = analysis::tagged(lang, SAMPLE);
            analyser.token_stream(&sample).process(&mut |token| {
                seen.push(' ');
                seen.push_str(&token.text);
            });
        }
    }
    // FNV-1a: short, and the same in every build.
    let hash = seen.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    Ok(format!("{hash:016x}"))
}

fn attribute_values(product: &ProductDocument) -> BTreeMap<String, OwnedValue> {
    let mut values: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
    for (key, value) in &product.attributes {
        values.entry(path_of(key)).or_default().insert(value);
    }
    let array = |values: BTreeSet<&str>| OwnedValue::Array(values.into_iter().map(OwnedValue::from).collect());
    values.into_iter().map(|(key, values)| (key, array(values))).collect()
}

/// A key as one segment of a JSON path, where the full stop and the backslash have a meaning.
fn path_of(key: &str) -> String {
    key.chars()
        .map(|c| match c {
            '.' => '\u{2024}',
            '\\' => '\u{2216}',
            c if c.is_control() => '\u{fffd}',
            c => c,
        })
        .collect()
}
